package eventspine_test

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "eventspine.example/client/gen/bank/v1"
	_ "eventspine.example/client/gen/eventspine/v1"
	_ "eventspine.example/client/gen/flights/v1"
)

type golden struct {
	Message string          `json:"message"`
	Bytes   string          `json:"bytes"`
	JSON    json.RawMessage `json:"json"`
}

// TestEveryMessageIsReadAndWrittenBackAsTheContractHasIt takes the file that `eventspine contract
// export` hands out; GOLDEN_MESSAGES names another place.
func TestEveryMessageIsReadAndWrittenBackAsTheContractHasIt(t *testing.T) {
	path := os.Getenv("GOLDEN_MESSAGES")
	if path == "" {
		path = "../../contract/golden_messages.json"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]golden{}
	if err := json.Unmarshal(text, &known); err != nil {
		t.Fatal(err)
	}
	if len(known) < 100 {
		t.Fatalf("only %d messages", len(known))
	}
	for name, want := range known {
		t.Run(name, func(t *testing.T) { check(t, want) })
	}
}

func check(t *testing.T, want golden) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(want.Message))
	if err != nil {
		t.Fatal(err)
	}
	read, written := kind.New().Interface(), kind.New().Interface()
	encoded, err := hex.DecodeString(want.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(encoded, read); err != nil {
		t.Fatal(err)
	}
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(read)
	if err != nil || hex.EncodeToString(byNumber(t, again)) != want.Bytes {
		t.Errorf("bytes became %x: %v", again, err)
	}
	if err := protojson.Unmarshal(want.JSON, written); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(read, written) {
		t.Errorf("bytes say %v, JSON says %v", read, written)
	}
	text, err := protojson.Marshal(read)
	if err != nil || !reflect.DeepEqual(plain(t, text), plain(t, want.JSON)) {
		t.Errorf("JSON became %s: %v", text, err)
	}
}

// byNumber returns the encoding of a message with its fields in the order of their numbers. Go's
// encoder puts what is in a oneof behind all else, which every decoder reads the same.
func byNumber(t *testing.T, encoded []byte) []byte {
	type field struct {
		number protowire.Number
		bytes  []byte
	}
	var fields []field
	for rest := encoded; len(rest) > 0; {
		number, _, length := protowire.ConsumeField(rest)
		if length < 0 {
			t.Fatal(protowire.ParseError(length))
		}
		fields = append(fields, field{number, rest[:length]})
		rest = rest[length:]
	}
	slices.SortStableFunc(fields, func(a, b field) int { return cmp.Compare(a.number, b.number) })
	var ordered []byte
	for _, field := range fields {
		ordered = append(ordered, field.bytes...)
	}
	return ordered
}

// plain returns JSON as values: its white space is nobody's business.
func plain(t *testing.T, text []byte) (value any) {
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	return value
}
