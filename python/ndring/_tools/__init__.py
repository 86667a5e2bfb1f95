"""The commands of ``python -m ndring``. They use only the public client."""
