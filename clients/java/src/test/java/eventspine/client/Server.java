package eventspine.client;

import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;

/** A platform on a file, which a test kills and starts again at the same address. */
final class Server implements AutoCloseable {
  private final Path folder;
  private String address = "127.0.0.1:0";
  private Process process;

  /** Starts a platform; the program is {@code eventspine} on the PATH, or what EVENTSPINE names. */
  Server(Path folder) {
    this.folder = folder;
    run();
  }

  ManagedChannel channel() {
    return Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
  }

  /** Kills the process without a warning, as a crash does, and starts another one. */
  void restart() {
    close();
    run();
  }

  @Override
  public void close() {
    process.destroyForcibly().onExit().join();
  }

  private void run() {
    String program = System.getenv().getOrDefault("EVENTSPINE", "eventspine");
    String file = folder.resolve("events.db").toString();
    try {
      process =
          new ProcessBuilder(program, "dev", "--db", file, "--address", address)
              .redirectError(ProcessBuilder.Redirect.INHERIT)
              .start();
      BufferedReader lines = process.inputReader();
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        if (address.endsWith(":0")) {
          address = line.split("\\s+")[3];
        }
        if (line.startsWith("ready")) {
          return;
        }
      }
    } catch (IOException failed) {
      throw new UncheckedIOException(failed);
    }
    throw new IllegalStateException("the platform ended before it was ready");
  }
}
