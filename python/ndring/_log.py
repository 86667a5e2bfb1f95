"""The logger. A program that sets up no logging gets no lines on its standard error."""
import logging

log = logging.getLogger("ndring")
log.addHandler(logging.NullHandler())
