"""People and their groups: Django's own admin of them, but nobody overwrites what somebody else has just changed.

Here and not in ``breakers``: who has that in a project of their own has their own people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.forms import UserChangeForm
from django.contrib.auth.models import Group, User
from django.http import HttpRequest

from breakers.admin.races import RacedAdmin, RacedForm

if TYPE_CHECKING:
    _PersonForm = UserChangeForm[User]
    _UserAdmin = UserAdmin[User]
else:
    _PersonForm, _UserAdmin = UserChangeForm, UserAdmin

admin.site.unregister([User, Group])


class PersonForm(RacedForm[User], _PersonForm):
    pass


@admin.register(User)
class PersonAdmin(RacedAdmin[User], _UserAdmin):
    form = PersonForm

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:  # names, in any sequence
        """When somebody last signed in is no matter of opinion."""
        return (*super().get_readonly_fields(request, obj), "last_login")


class GroupForm(RacedForm[Group]):
    pass


@admin.register(Group)
class PeopleGroupAdmin(RacedAdmin[Group], GroupAdmin):
    form = GroupForm
