"""
A server that behaves as Tencent Cloud Chat does for the marks of conversations.

It answers the calls of marks, conversation groups and accounts over real HTTP with the vendor's
codes, and can be scripted with faults. It shares no code with chatmark's client, so
that the two check each other.
"""

from chatmark.emulator import faults
from chatmark.emulator.calls import Call
from chatmark.emulator.faults import *  # noqa: F403 - it lists the faults once.
from chatmark.emulator.script import FaultScript, load_faults
from chatmark.emulator.server import Emulator, EmulatorThread
from chatmark.emulator.settings import EmulatorOptions, Settings
from chatmark.emulator.state import ChatState

__all__ = ["Call", "ChatState", "Emulator", "EmulatorOptions", "EmulatorThread", "FaultScript"]
__all__ += ["Settings", "load_faults"]
__all__ += faults.__all__
