"""The OpenAPI document: what each address takes and answers, written beside the views and made by drf-spectacular."""
