package eventspine.client;

import bank.v1.AccountCommandsGrpc;
import bank.v1.AccountQueriesGrpc;
import bank.v1.DepositRequest;
import bank.v1.DepositResponse;
import bank.v1.GetAccountBalanceRequest;
import bank.v1.OpenAccountRequest;
import com.google.protobuf.Empty;
import eventspine.v1.CommandHeader;
import eventspine.v1.EventFilter;
import eventspine.v1.EventRecord;
import eventspine.v1.QueryHeader;
import eventspine.v1.QueryServiceGrpc;
import eventspine.v1.StalePolicy;
import eventspine.v1.SubscribeRequest;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;

/**
 * Opens an account, puts money into it, reads the balance that the deposit demands, and prints the
 * events of all accounts until Ctrl-C.
 */
public final class Example {
  private Example() {}

  /** Takes the address of a platform; 127.0.0.1:7070 without one. */
  public static void main(String[] arguments) throws InterruptedException {
    String address = arguments.length > 0 ? arguments[0] : "127.0.0.1:7070";
    ManagedChannel channel =
        Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
    deposit(channel, "java-" + System.currentTimeMillis());
    SubscribeRequest request =
        SubscribeRequest.newBuilder()
            .setBeginning(Empty.getDefaultInstance())
            .setFilter(EventFilter.newBuilder().addCategories("account"))
            .build();
    new Subscription(QueryServiceGrpc.newBlockingStub(channel), request)
        .forEachBatch(
            batch -> {
              for (EventRecord record : batch.getRecordsList()) {
                System.out.println(
                    record.getStream() + " " + record.getStreamVersion() + " " + record.getType());
              }
              return true;
            });
  }

  private static void deposit(ManagedChannel channel, String account) throws InterruptedException {
    var accounts = AccountCommandsGrpc.newBlockingStub(channel);
    OpenAccountRequest open =
        OpenAccountRequest.newBuilder()
            .setHeader(CommandHeader.newBuilder().setCommandId("open-" + account))
            .setAccountId(account)
            .setOwner("Duke")
            .build();
    Again.call(() -> accounts.openAccount(open));
    DepositRequest put =
        DepositRequest.newBuilder()
            .setHeader(CommandHeader.newBuilder().setCommandId("pay-" + account))
            .setAccountId(account)
            .setAmountCents(5000)
            .build();
    DepositResponse deposited = Again.call(() -> accounts.deposit(put));
    var balance =
        AccountQueriesGrpc.newBlockingStub(channel)
            .getAccountBalance(
                GetAccountBalanceRequest.newBuilder()
                    .setHeader(
                        QueryHeader.newBuilder()
                            .setToken(deposited.getResult().getToken())
                            .setStalePolicy(StalePolicy.STALE_POLICY_FAIL))
                    .setAccountId(account)
                    .build());
    System.out.println(
        "balance of " + account + " is " + balance.getRow().getBalanceCents() + " cents");
  }
}
