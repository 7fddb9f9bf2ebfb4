package eventspine.client;

import io.grpc.StatusRuntimeException;
import java.util.function.Supplier;

/** Sending again what was not answered. */
public final class Again {
  private Again() {}

  /**
   * Calls until the answer is more than "not now", or the thread is interrupted. The request must be the
   * same each time, for a command with the same command id: however often it arrives, it takes effect
   * once.
   */
  public static <Response> Response call(Supplier<Response> call) throws InterruptedException {
    Pauses pauses = new Pauses();
    while (true) {
      try {
        return call.get();
      } catch (StatusRuntimeException error) {
        if (!Failure.isTransient(error)) {
          throw error;
        }
      }
      pauses.await();
    }
  }
}
