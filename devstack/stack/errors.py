"""Why a stack does not start or stop; promise: each text says what is wrong and how to cure it."""


class StackError(Exception):
    """The stack cannot be started, or not be stopped. What was started before is stopped again."""


class ShapeError(StackError, ValueError):
    """A number of servers or services that cannot be started. Nothing was started."""


class JavaNotFoundError(StackError):
    """No Java on this machine runs both servers. Nothing was started."""


class JarsNotFoundError(StackError):
    """The servers' jars are not in the cache and could not be fetched. The cache is unchanged."""


class AddressTakenError(StackError):
    """Something else listens where a server has to. That server was not started."""


class ChildFailedError(StackError):
    """A child ended by itself, or did not become ready; the text ends with its log's tail.

    Attributes:
        name: Which child, such as `cassandra-2`.
    """

    def __init__(self, name: str, text: str) -> None:
        """Says what became of a child."""
        super().__init__(f"{name} {text}")
        self.name = name


class StateOwnedError(StackError):
    """Another process owns the state folder; the text says which. Nothing was started."""


class EnvoyMissingError(StackError):
    """No Envoy can be run here. Neither tier of gateways was started."""
