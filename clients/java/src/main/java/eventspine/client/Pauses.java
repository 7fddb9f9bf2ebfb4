package eventspine.client;

import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;

/** The pauses between attempts: doubling, each drawn between half and all of that. */
final class Pauses {
  private static final Duration FIRST = Duration.ofMillis(50);
  private static final Duration LONGEST = Duration.ofSeconds(2);

  private Duration next = FIRST;

  /** Begins anew: something went well. */
  void succeeded() {
    next = FIRST;
  }

  /** Waits before the next attempt. */
  void await() throws InterruptedException {
    long most = next.toMillis();
    next = next.multipliedBy(2).compareTo(LONGEST) > 0 ? LONGEST : next.multipliedBy(2);
    Thread.sleep(ThreadLocalRandom.current().nextLong(most / 2, most + 1));
  }
}
