"""The errors of the storage ports, each with what has and has not happened."""

from eventspine.domain.errors import EventspineError


class OutcomeUnknownError(EventspineError):
    """An append may or may not have been stored. Safe to send again with the same command ids."""


class StoreUnavailableError(EventspineError):
    """The store cannot store or read at the moment. Nothing was stored. `cause` is in metadata."""


class ChainBrokenError(EventspineError):
    """A stored record is not what was stored. `stream` and `stream_version` are in metadata."""


class OwnedError(Exception):
    """Another process owns the file or folder; nothing was opened. The text names both."""


class StoreFormatError(Exception):
    """The file is not a store, or of another format version; nothing was changed."""


class StackSetupError(Exception):
    """The stack cannot be used as it is set up; nothing was changed. The text says how to cure."""


class LogMovedError(Exception):
    """The log's end is not where the writer thought; nothing was written."""


class ProgressMovedError(Exception):
    """A build's progress is not where the batch started, or it is gone; nothing was saved."""


class DeclinedError(Exception):
    """The backend does not offer this method; the text says why and what does the work instead."""


class BusUnavailableError(StoreUnavailableError):
    """The bus did not take all of a publication in time; it may have taken some. Safe to repeat."""


class BusSetupError(Exception):
    """The bus is not as the platform needs it; nothing was started. The text names the cure."""


class NotEmptyError(Exception):
    """A store that is to be restored has events or commands already. Nothing was loaded."""


class RestoreOrderError(Exception):
    """What is loaded does not follow what was loaded before. Nothing of it was loaded."""
