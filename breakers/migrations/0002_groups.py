"""The three groups of people: viewer, operator, editor."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

VIEW = ["view_breakerconfig", "view_statechange", "view_configchange", "view_instance"]
OPERATE = [*VIEW, "reset_breaker", "override_breaker"]
EDIT = [*OPERATE, "add_breakerconfig", "change_breakerconfig", "delete_breakerconfig"]
GROUPS = {"viewer": VIEW, "operator": OPERATE, "editor": EDIT}


def make_groups(apps, schema_editor):
    using = schema_editor.connection.alias
    _make_permissions(apps, using)
    Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, codenames in GROUPS.items():
        group, _ = Group.objects.using(using).get_or_create(name=name)
        granted = Permission.objects.using(using).filter(content_type__app_label="breakers", codename__in=codenames)
        group.permissions.add(*granted)


def _make_permissions(apps, using):
    """Django makes them after the last migration, which is too late for this one."""
    config = apps.get_app_config("breakers")
    config.models_module = True
    create_permissions(config, apps=apps, using=using, verbosity=0)
    config.models_module = None


def make_revision(apps, schema_editor):
    apps.get_model("breakers", "Revision").objects.using(schema_editor.connection.alias).get_or_create(pk=1)


class Migration(migrations.Migration):
    dependencies = [
        ("breakers", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [
        migrations.RunPython(make_revision, migrations.RunPython.noop),
        migrations.RunPython(make_groups, migrations.RunPython.noop),
    ]
