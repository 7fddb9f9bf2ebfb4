package eventspine.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import eventspine.v1.VersionConflict;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.util.Optional;

/** What an error of the platform means. */
public final class Failure {
  private Failure() {}

  /**
   * The reason that an error carries, such as {@code ERROR_REASON_STREAM_VERSION_CONFLICT} or a refusal
   * of the domain; empty for an error that did not come from the platform.
   */
  public static String reason(Throwable error) {
    return detail(error, ErrorInfo.class).map(ErrorInfo::getReason).orElse("");
  }

  /**
   * What a refused command has missed: the stream's version and the events that came between (cut when
   * there are many; then {@code truncated} is set). Empty for any other error.
   */
  public static Optional<VersionConflict> conflict(Throwable error) {
    return detail(error, VersionConflict.class);
  }

  /**
   * Whether the same request may be sent again: the platform could not be reached, is overloaded or
   * stopping, or does not know the outcome. A command is then sent with the same id.
   */
  public static boolean isTransient(Throwable error) {
    Status status = Status.fromThrowable(error);
    return switch (status.getCode()) {
      case UNAVAILABLE -> true;
      // Of a call begun while its connection was being lost. What the platform answers has no cause.
      case UNKNOWN -> status.getCause() instanceof IOException;
      case RESOURCE_EXHAUSTED -> !reason(error).equals("ERROR_REASON_LIMIT_EXCEEDED");
      default -> false;
    };
  }

  private static <Detail extends Message> Optional<Detail> detail(
      Throwable error, Class<Detail> kind) {
    com.google.rpc.Status status = StatusProto.fromThrowable(error);
    if (status == null) {
      return Optional.empty();
    }
    try {
      for (Any packed : status.getDetailsList()) {
        if (packed.is(kind)) {
          return Optional.of(packed.unpack(kind));
        }
      }
    } catch (InvalidProtocolBufferException unreadable) {
      throw new IllegalStateException("the error's details cannot be read", unreadable);
    }
    return Optional.empty();
  }
}
