"""The logger. A program that does not configure logging sees nothing on its standard error."""
import logging

log = logging.getLogger("ndring")
log.addHandler(logging.NullHandler())
