"""The Django project of the control plane."""
