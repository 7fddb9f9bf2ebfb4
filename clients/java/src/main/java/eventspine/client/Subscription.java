package eventspine.client;

import eventspine.v1.EventBatch;
import eventspine.v1.QueryServiceGrpc.QueryServiceBlockingStub;
import eventspine.v1.SubscribeRequest;
import eventspine.v1.SubscribeResponse;
import io.grpc.Context;
import io.grpc.StatusRuntimeException;
import java.util.Iterator;
import java.util.function.Predicate;

/** A subscription that resumes. */
public final class Subscription {
  private final QueryServiceBlockingStub queries;
  private final Pauses pauses = new Pauses();
  private SubscribeRequest request;

  /** Prepares a subscription; {@code request} says where it starts the first time. */
  public Subscription(QueryServiceBlockingStub queries, SubscribeRequest request) {
    this.queries = queries;
    this.request = request;
  }

  /**
   * Takes batches until {@code taker} answers false. When the connection ends, it resumes from the last
   * cursor, on whichever instance answers: no event is lost and none comes twice. To go on another day,
   * keep the cursor of the last batch whose events were dealt with.
   *
   * @throws StatusRuntimeException the request is refused
   */
  public void forEachBatch(Predicate<EventBatch> taker) throws InterruptedException {
    while (true) {
      try {
        if (connection(taker)) {
          return;
        }
      } catch (StatusRuntimeException error) {
        if (!Failure.isTransient(error)) {
          throw error;
        }
      }
      pauses.await();
    }
  }

  /** Takes the batches of one connection; answers whether the taker wants no more. */
  private boolean connection(Predicate<EventBatch> taker) {
    Context.CancellableContext context = Context.current().withCancellation();
    Context before = context.attach();
    try {
      Iterator<SubscribeResponse> messages = queries.subscribe(request);
      while (messages.hasNext()) {
        SubscribeResponse message = messages.next();
        pauses.succeeded();
        if (message.hasBatch() && !taker.test(message.getBatch())) {
          return true;
        }
        request = request.toBuilder().setCursor(cursor(message)).build();
      }
      return false;
    } finally {
      context.detach(before);
      context.cancel(null);
    }
  }

  private static String cursor(SubscribeResponse message) {
    return switch (message.getMessageCase()) {
      case CONFIRMATION -> message.getConfirmation().getCursor();
      case BATCH -> message.getBatch().getCursor();
      case CHECKPOINT -> message.getCheckpoint().getCursor();
      case CAUGHT_UP -> message.getCaughtUp().getCursor();
      case FELL_BEHIND -> message.getFellBehind().getCursor();
      case HEARTBEAT -> message.getHeartbeat().getCursor();
      case MESSAGE_NOT_SET -> throw new IllegalStateException("a message of an unknown kind");
    };
  }
}
