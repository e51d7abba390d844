from django.db import migrations, models
from django.db.models import Count

KEYS = ("breaker", "from_state", "to_state", "reason")
AT_ONCE = 500


def count_what_stands(apps, schema_editor):
    """Once, over the whole history; from now on each is counted as it is recorded."""
    changes = apps.get_model("breakers", "StateChange").objects.using(schema_editor.connection.alias)
    totals = apps.get_model("breakers", "TransitionTotal")
    counted = changes.order_by().values(*KEYS).annotate(total=Count("id"))
    rows = [totals(**found) for found in counted]
    totals.objects.using(schema_editor.connection.alias).bulk_create(rows, batch_size=AT_ONCE)


class Migration(migrations.Migration):
    dependencies = [
        ("breakers", "0009_events"),
    ]

    operations = [
        migrations.CreateModel(
            name="TransitionTotal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("breaker", models.CharField(max_length=100)),
                ("from_state", models.CharField(max_length=10)),
                ("to_state", models.CharField(max_length=10)),
                ("reason", models.CharField(max_length=50)),
                ("total", models.PositiveBigIntegerField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("breaker", "from_state", "to_state", "reason"), name="transitiontotal_once"
                    )
                ],
            },
        ),
        migrations.RunPython(count_what_stands, migrations.RunPython.noop),
    ]
