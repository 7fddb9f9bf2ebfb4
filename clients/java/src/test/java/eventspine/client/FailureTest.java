package eventspine.client;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Status;
import java.nio.channels.ClosedChannelException;
import org.junit.jupiter.api.Test;

/** Which failures pass by themselves. */
final class FailureTest {
  @Test
  void aCallThatFoundItsConnectionLostMayBeSentAgain() {
    Status lost = Status.UNKNOWN.withCause(new ClosedChannelException());
    assertTrue(Failure.isTransient(lost.asRuntimeException()));
    assertTrue(Failure.isTransient(Status.UNAVAILABLE.asRuntimeException()));
  }

  @Test
  void whatThePlatformAnsweredStays() {
    assertFalse(Failure.isTransient(Status.UNKNOWN.asRuntimeException()));
    assertFalse(Failure.isTransient(Status.INVALID_ARGUMENT.asRuntimeException()));
  }
}
