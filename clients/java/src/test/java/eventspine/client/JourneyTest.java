package eventspine.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import bank.v1.AccountCommandsGrpc;
import bank.v1.AccountCommandsGrpc.AccountCommandsBlockingStub;
import bank.v1.AccountQueriesGrpc;
import bank.v1.AccountQueriesGrpc.AccountQueriesBlockingStub;
import bank.v1.DepositRequest;
import bank.v1.GetAccountBalanceRequest;
import bank.v1.MoneyDeposited;
import bank.v1.OpenAccountRequest;
import bank.v1.WatchAccountBalanceRequest;
import com.google.protobuf.Empty;
import eventspine.v1.CommandHeader;
import eventspine.v1.CommandResult;
import eventspine.v1.EventFilter;
import eventspine.v1.EventRecord;
import eventspine.v1.Expectation;
import eventspine.v1.QueryHeader;
import eventspine.v1.QueryServiceGrpc;
import eventspine.v1.StalePolicy;
import eventspine.v1.SubscribeRequest;
import eventspine.v1.VersionConflict;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What a client of the platform relies on, from a command to a subscription. */
@Timeout(90)
class JourneyTest {
  private Server server;
  private ManagedChannel channel;
  private AccountCommandsBlockingStub accounts;
  private AccountQueriesBlockingStub balances;

  @BeforeEach
  void start(@TempDir Path folder) {
    server = new Server(folder);
    channel = server.channel();
    accounts = AccountCommandsGrpc.newBlockingStub(channel);
    balances = AccountQueriesGrpc.newBlockingStub(channel);
  }

  @AfterEach
  void stop() {
    channel.shutdownNow();
    server.close();
  }

  @Test
  void aCommandSentAgainAnswersAsFirstAlsoAfterACrash() throws InterruptedException {
    open("alice");
    CommandResult first = deposit("alice", "pay", 500);
    server.restart();
    CommandResult again = deposit("alice", "pay", 500);
    assertFalse(first.getReplayed());
    assertTrue(again.getReplayed());
    assertEquals(first.getLastVersion(), again.getLastVersion());
    var reused =
        assertThrows(StatusRuntimeException.class, () -> deposit("alice", "pay", 501));
    assertEquals("ERROR_REASON_COMMAND_ID_REUSED", Failure.reason(reused));
  }

  @Test
  void aRefusalCarriesTheReasonThatTheDomainDeclares() {
    var refused = assertThrows(StatusRuntimeException.class, () -> deposit("nobody", "pay", 500));
    assertEquals(Status.Code.NOT_FOUND, refused.getStatus().getCode());
    assertFalse(Failure.reason(refused).isEmpty());
  }

  @Test
  void aConflictIsResolvedFromTheEventsThatWereMissed() throws Exception {
    long known = open("alice").getLastVersion();
    deposit("alice", "of somebody else", 700);
    Expectation expected = Expectation.newBuilder().setVersion(known).build();
    var refused =
        assertThrows(
            StatusRuntimeException.class, () -> deposit("alice", "mine", 300, expected));
    VersionConflict conflict = Failure.conflict(refused).orElseThrow();
    // What was missed is looked at: another deposit does not stand in the way of this one.
    for (EventRecord record : conflict.getMissedList()) {
      assertEquals(MoneyDeposited.getDescriptor().getFullName(), record.getType());
      assertEquals(700, MoneyDeposited.parseFrom(record.getPayload()).getAmountCents());
      known = record.getStreamVersion();
    }
    assertEquals(conflict.getActualVersion(), known);
    deposit("alice", "mine", 300, Expectation.newBuilder().setVersion(known).build());
  }

  @Test
  void aQueryWithATokenShowsWhatTheCommandWrote() throws InterruptedException {
    open("alice");
    for (int n = 1; n <= 20; n++) {
      assertEquals(100L * n, balance("alice", deposit("alice", "pay " + n, 100).getToken()));
    }
  }

  @Test
  void aWatchShowsTheRowAndEachChange() throws InterruptedException {
    open("alice");
    assertEquals(100, balance("alice", deposit("alice", "first", 100).getToken()));
    var request = WatchAccountBalanceRequest.newBuilder().setAccountId("alice").build();
    List<Long> seen = new ArrayList<>();
    Context.CancellableContext context = Context.current().withCancellation();
    Context before = context.attach();
    try {
      var changes = balances.watchAccountBalance(request);
      while (!seen.contains(150L)) {
        var change = changes.next();
        if (change.hasRow()) {
          seen.add(change.getRow().getBalanceCents());
          if (seen.size() == 1) {
            deposit("alice", "second", 50);
          }
        }
      }
    } finally {
      context.detach(before);
      context.cancel(null);
    }
    assertEquals(List.of(100L, 150L), seen);
  }

  @Test
  void aSubscriptionResumesAfterItsServerWasKilled() throws Exception {
    int deposits = 60;
    open("alice");
    CompletableFuture<Void> written =
        CompletableFuture.runAsync(
            () -> {
              try {
                for (int n = 0; n < deposits; n++) {
                  deposit("alice", "pay " + n, 1);
                }
              } catch (InterruptedException interrupted) {
                throw new CompletionException(interrupted);
              }
            });
    var request =
        SubscribeRequest.newBuilder()
            .setBeginning(Empty.getDefaultInstance())
            .setFilter(EventFilter.newBuilder().setStream("account/alice"))
            .setBatchRecordsMax(5)
            .build();
    AtomicLong next = new AtomicLong(1);
    new Subscription(QueryServiceGrpc.newBlockingStub(channel), request)
        .forEachBatch(
            batch -> {
              for (EventRecord record : batch.getRecordsList()) {
                assertEquals(next.get(), record.getStreamVersion());
                if (next.get() == 20 || next.get() == 40) {
                  server.restart();
                }
                next.incrementAndGet();
              }
              return next.get() <= deposits + 1;
            });
    written.get();
  }

  private CommandResult open(String account) throws InterruptedException {
    var request =
        OpenAccountRequest.newBuilder()
            .setHeader(CommandHeader.newBuilder().setCommandId("open-" + account))
            .setAccountId(account)
            .setOwner("Ann")
            .build();
    return Again.call(() -> accounts.openAccount(request)).getResult();
  }

  private CommandResult deposit(String account, String commandId, long cents)
      throws InterruptedException {
    return deposit(account, commandId, cents, null);
  }

  private CommandResult deposit(String account, String commandId, long cents, Expectation expected)
      throws InterruptedException {
    CommandHeader.Builder header = CommandHeader.newBuilder().setCommandId(commandId);
    if (expected != null) {
      header.setExpected(expected);
    }
    var request =
        DepositRequest.newBuilder()
            .setHeader(header)
            .setAccountId(account)
            .setAmountCents(cents)
            .build();
    return Again.call(() -> accounts.deposit(request)).getResult();
  }

  private long balance(String account, String token) {
    var header =
        QueryHeader.newBuilder().setToken(token).setStalePolicy(StalePolicy.STALE_POLICY_FAIL);
    var request =
        GetAccountBalanceRequest.newBuilder().setHeader(header).setAccountId(account).build();
    return balances.getAccountBalance(request).getRow().getBalanceCents();
  }
}
