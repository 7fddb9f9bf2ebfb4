package eventspine_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"eventspine.example/client/eventspine"
	bank "eventspine.example/client/gen/bank/v1"
	pb "eventspine.example/client/gen/eventspine/v1"
)

// user is somebody with the generated stubs.
type user struct {
	t        *testing.T
	ctx      context.Context
	accounts bank.AccountCommandsClient
	balances bank.AccountQueriesClient
	queries  pb.QueryServiceClient
}

func newUser(t *testing.T, s *server) *user {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	t.Cleanup(cancel)
	connection := s.connect()
	return &user{
		t:        t,
		ctx:      ctx,
		accounts: bank.NewAccountCommandsClient(connection),
		balances: bank.NewAccountQueriesClient(connection),
		queries:  pb.NewQueryServiceClient(connection),
	}
}

func (u *user) open(account string) *pb.CommandResult {
	u.t.Helper()
	request := &bank.OpenAccountRequest{
		Header:    &pb.CommandHeader{CommandId: "open-" + account},
		AccountId: account,
		Owner:     "Ann",
	}
	opened, err := eventspine.Again(u.ctx, func(ctx context.Context) (*bank.OpenAccountResponse, error) {
		return u.accounts.OpenAccount(ctx, request)
	})
	if err != nil {
		u.t.Fatal(err)
	}
	return opened.GetResult()
}

func (u *user) deposit(account, commandID string, cents int64, expected *pb.Expectation) (*pb.CommandResult, error) {
	request := &bank.DepositRequest{
		Header:      &pb.CommandHeader{CommandId: commandID, Expected: expected},
		AccountId:   account,
		AmountCents: cents,
	}
	deposited, err := eventspine.Again(u.ctx, func(ctx context.Context) (*bank.DepositResponse, error) {
		return u.accounts.Deposit(ctx, request)
	})
	return deposited.GetResult(), err
}

func (u *user) deposited(account, commandID string, cents int64) *pb.CommandResult {
	u.t.Helper()
	result, err := u.deposit(account, commandID, cents, nil)
	if err != nil {
		u.t.Fatal(err)
	}
	return result
}

func TestACommandSentAgainAnswersAsFirstAlsoAfterACrash(t *testing.T) {
	s := start(t)
	u := newUser(t, s)
	u.open("alice")
	first := u.deposited("alice", "pay", 500)
	s.restart()
	again := u.deposited("alice", "pay", 500)
	if first.GetReplayed() || !again.GetReplayed() || again.GetLastVersion() != first.GetLastVersion() {
		t.Fatalf("first %v, again %v", first, again)
	}
	_, err := u.deposit("alice", "pay", 501, nil)
	if eventspine.Reason(err) != "ERROR_REASON_COMMAND_ID_REUSED" {
		t.Fatalf("the same id with other content: %v", err)
	}
}

func TestARefusalCarriesTheReasonThatTheDomainDeclares(t *testing.T) {
	u := newUser(t, start(t))
	_, err := u.deposit("nobody", "pay", 500, nil)
	if status.Code(err) != codes.NotFound || eventspine.Reason(err) == "" {
		t.Fatalf("%v", err)
	}
}

func TestAConflictIsResolvedFromTheEventsThatWereMissed(t *testing.T) {
	u := newUser(t, start(t))
	opened := u.open("alice")
	known := opened.GetLastVersion()
	u.deposited("alice", "of somebody else", 700)

	at := func(version uint64) *pb.Expectation {
		return &pb.Expectation{Kind: &pb.Expectation_Version{Version: version}}
	}
	_, err := u.deposit("alice", "mine", 300, at(known))
	conflict := eventspine.Conflict(err)
	if conflict == nil {
		t.Fatalf("no conflict: %v", err)
	}
	// What was missed is looked at: another deposit does not stand in the way of this one.
	for _, record := range conflict.GetMissed() {
		missed := &bank.MoneyDeposited{}
		if record.GetType() != string(missed.ProtoReflect().Descriptor().FullName()) {
			t.Fatalf("missed %v", record)
		}
		if err := proto.Unmarshal(record.GetPayload(), missed); err != nil || missed.GetAmountCents() != 700 {
			t.Fatalf("missed %v: %v", missed, err)
		}
		known = record.GetStreamVersion()
	}
	if known != conflict.GetActualVersion() {
		t.Fatalf("missed up to %d of %d", known, conflict.GetActualVersion())
	}
	if _, err := u.deposit("alice", "mine", 300, at(known)); err != nil {
		t.Fatal(err)
	}
}

func TestAQueryWithATokenShowsWhatTheCommandWrote(t *testing.T) {
	u := newUser(t, start(t))
	u.open("alice")
	for n := int64(1); n <= 20; n++ {
		result := u.deposited("alice", fmt.Sprint("pay", n), 100)
		balance, err := u.balances.GetAccountBalance(u.ctx, &bank.GetAccountBalanceRequest{
			Header: &pb.QueryHeader{
				Token:       result.GetToken(),
				StalePolicy: pb.StalePolicy_STALE_POLICY_FAIL,
			},
			AccountId: "alice",
		})
		if err != nil || balance.GetRow().GetBalanceCents() != 100*n {
			t.Fatalf("%v after %d deposits: %v", balance, n, err)
		}
	}
}

func TestAWatchShowsTheRowAndEachChange(t *testing.T) {
	u := newUser(t, start(t))
	u.open("alice")
	result := u.deposited("alice", "first", 100)
	if _, err := u.balances.GetAccountBalance(u.ctx, &bank.GetAccountBalanceRequest{
		Header:    &pb.QueryHeader{Token: result.GetToken(), StalePolicy: pb.StalePolicy_STALE_POLICY_FAIL},
		AccountId: "alice",
	}); err != nil {
		t.Fatal(err)
	}
	watch, err := u.balances.WatchAccountBalance(u.ctx, &bank.WatchAccountBalanceRequest{AccountId: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	shows := func(cents int64) {
		t.Helper()
		for {
			message, err := watch.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if row := message.GetRow(); row != nil && row.GetBalanceCents() == cents {
				return
			}
		}
	}
	shows(100)
	u.deposited("alice", "second", 50)
	shows(150)
}

func TestASubscriptionResumesAfterItsServerWasKilledWithoutLossOrRepetition(t *testing.T) {
	const deposits = 60
	s := start(t)
	u := newUser(t, s)
	u.open("alice")

	written := make(chan error, 1)
	go func() {
		for n := range deposits {
			if _, err := u.deposit("alice", fmt.Sprint("pay", n), 1, nil); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()

	request := &pb.SubscribeRequest{
		Start:           &pb.SubscribeRequest_Beginning{Beginning: &emptypb.Empty{}},
		Filter:          &pb.EventFilter{Stream: "account/alice"},
		BatchRecordsMax: 5,
	}
	next := uint64(1)
	for batch, err := range eventspine.Batches(u.ctx, u.queries, request) {
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range batch.GetRecords() {
			if record.GetStreamVersion() != next {
				t.Fatalf("version %d came where %d was due", record.GetStreamVersion(), next)
			}
			if next == 20 || next == 40 {
				s.restart()
			}
			next++
		}
		if next > deposits+1 {
			break
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}
