// The example opens an account, puts money into it, reads the balance that the deposit demands, and
// prints the events of all accounts until Ctrl-C.
//
//	go run ./example 127.0.0.1:7070
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"eventspine.example/client/eventspine"
	bank "eventspine.example/client/gen/bank/v1"
	pb "eventspine.example/client/gen/eventspine/v1"
)

func main() {
	address := "127.0.0.1:7070"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, address); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, address string) error {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := deposit(ctx, connection, fmt.Sprintf("go-%d", time.Now().UnixNano())); err != nil {
		return err
	}
	request := &pb.SubscribeRequest{
		Start:  &pb.SubscribeRequest_Beginning{Beginning: &emptypb.Empty{}},
		Filter: &pb.EventFilter{Categories: []string{"account"}},
	}
	for batch, err := range eventspine.Batches(ctx, pb.NewQueryServiceClient(connection), request) {
		if err != nil {
			return err
		}
		for _, record := range batch.GetRecords() {
			fmt.Println(record.GetStream(), record.GetStreamVersion(), record.GetType())
		}
	}
	return nil
}

func deposit(ctx context.Context, connection *grpc.ClientConn, account string) error {
	accounts, balances := bank.NewAccountCommandsClient(connection), bank.NewAccountQueriesClient(connection)
	open := &bank.OpenAccountRequest{
		Header:    &pb.CommandHeader{CommandId: "open-" + account},
		AccountId: account,
		Owner:     "Gopher",
	}
	if _, err := eventspine.Again(ctx, func(ctx context.Context) (*bank.OpenAccountResponse, error) {
		return accounts.OpenAccount(ctx, open)
	}); err != nil {
		return err
	}
	put := &bank.DepositRequest{
		Header:      &pb.CommandHeader{CommandId: "deposit-" + account},
		AccountId:   account,
		AmountCents: 5000,
	}
	deposited, err := eventspine.Again(ctx, func(ctx context.Context) (*bank.DepositResponse, error) {
		return accounts.Deposit(ctx, put)
	})
	if err != nil {
		return err
	}
	balance, err := balances.GetAccountBalance(ctx, &bank.GetAccountBalanceRequest{
		Header: &pb.QueryHeader{
			Token:       deposited.GetResult().GetToken(),
			StalePolicy: pb.StalePolicy_STALE_POLICY_FAIL,
		},
		AccountId: account,
	})
	if err != nil {
		return err
	}
	fmt.Println("balance of", account, "is", balance.GetRow().GetBalanceCents(), "cents")
	return nil
}
