"""Django's admin: breakers are edited here, through ``breakers.services``; history and instances are read."""

from django.contrib.admin import site

from .breakers import BreakerConfigAdmin
from .keys import ApiKeyAdmin
from .notifications import DeliveryAdmin, NotificationRuleAdmin
from .records import ConfigChangeAdmin, InstanceAdmin, StateChangeAdmin

__all__ = [
    "ApiKeyAdmin",
    "BreakerConfigAdmin",
    "ConfigChangeAdmin",
    "DeliveryAdmin",
    "InstanceAdmin",
    "NotificationRuleAdmin",
    "StateChangeAdmin",
]

site.site_header = site.site_title = "TradPal Circuit Breakers"
site.index_title = "Configuration"
site.enable_nav_sidebar = False  # lists have many columns, and every page says where it is
