"""The one place that states the version.

:Runs on: import only.
:Owns: nothing.
"""

__version__ = "0.1.0"
