package eventspine.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.DynamicMessage;
import com.google.protobuf.ExtensionRegistry;
import com.google.protobuf.util.JsonFormat;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * Every message is read and written back as the contract has it. The file is the one that {@code
 * eventspine contract export} hands out; GOLDEN_MESSAGES names another place.
 */
class GoldenTest {
  private static final List<FileDescriptor> FILES =
      List.of(
          bank.v1.AccountProto.getDescriptor(),
          bank.v1.ViewsProto.getDescriptor(),
          eventspine.v1.AdminProto.getDescriptor(),
          eventspine.v1.ChangeProto.getDescriptor(),
          eventspine.v1.CommandProto.getDescriptor(),
          eventspine.v1.QueryProto.getDescriptor(),
          eventspine.v1.RecordProto.getDescriptor(),
          eventspine.v1.SubscriptionProto.getDescriptor(),
          flights.v1.FlightProto.getDescriptor(),
          flights.v1.ViewsProto.getDescriptor());

  private static final JsonFormat.TypeRegistry TYPES =
      JsonFormat.TypeRegistry.newBuilder()
          .add(FILES.stream().flatMap(file -> file.getMessageTypes().stream()).toList())
          .build();

  @TestFactory
  Stream<DynamicTest> everyMessageIsReadAndWrittenBackAsTheContractHasIt() throws Exception {
    String path =
        System.getenv().getOrDefault("GOLDEN_MESSAGES", "../contract/golden_messages.json");
    JsonObject golden = JsonParser.parseString(Files.readString(Path.of(path))).getAsJsonObject();
    assertTrue(golden.size() > 100);
    return golden.entrySet().stream()
        .map(entry -> DynamicTest.dynamicTest(entry.getKey(), () -> check(entry)));
  }

  private static void check(Map.Entry<String, JsonElement> entry) throws Exception {
    JsonObject want = entry.getValue().getAsJsonObject();
    var kind = TYPES.find(want.get("message").getAsString());
    String bytes = want.get("bytes").getAsString();
    var read =
        DynamicMessage.parseFrom(
            kind, HexFormat.of().parseHex(bytes), ExtensionRegistry.getEmptyRegistry());
    assertEquals(bytes, HexFormat.of().formatHex(read.toByteArray()));

    var written = DynamicMessage.newBuilder(kind);
    JsonFormat.parser().usingTypeRegistry(TYPES).merge(want.get("json").toString(), written);
    assertEquals(read, written.build());
    String json = JsonFormat.printer().usingTypeRegistry(TYPES).print(read);
    assertEquals(want.get("json"), JsonParser.parseString(json));
  }
}
