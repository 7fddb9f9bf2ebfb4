package eventspine_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// server is a platform on a file, which a test kills and starts again at the same address.
type server struct {
	t       *testing.T
	file    string
	address string
	process *exec.Cmd
}

// start starts a platform; the program is `eventspine` on the PATH, or what EVENTSPINE names.
func start(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, file: filepath.Join(t.TempDir(), "events.db"), address: "127.0.0.1:0"}
	s.run()
	t.Cleanup(s.kill)
	return s
}

func (s *server) run() {
	s.t.Helper()
	program := os.Getenv("EVENTSPINE")
	if program == "" {
		program = "eventspine"
	}
	s.process = exec.Command(program, "dev", "--db", s.file, "--address", s.address)
	output, err := s.process.StdoutPipe()
	if err == nil {
		err = s.process.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if words := strings.Fields(lines.Text()); len(words) > 3 && s.address == "127.0.0.1:0" {
			s.address = words[3]
		}
		if strings.HasPrefix(lines.Text(), "ready") {
			return
		}
	}
	s.t.Fatal("the platform ended before it was ready")
}

// kill ends the process without a warning, as a crash does.
func (s *server) kill() {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}

func (s *server) restart() {
	s.t.Helper()
	s.kill()
	s.run()
}

func (s *server) connect() *grpc.ClientConn {
	s.t.Helper()
	connection, err := grpc.NewClient(s.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = connection.Close() })
	return connection
}
