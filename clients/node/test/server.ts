// A platform on a file, which a test kills and starts again at the same address.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export class Server {
  address = "127.0.0.1:0";
  readonly #folder = mkdtempSync(join(tmpdir(), "eventspine-node-"));
  #process?: ChildProcess;

  /** Starts a platform; the program is `eventspine` on the PATH, or what EVENTSPINE names. */
  static async start(): Promise<Server> {
    const server = new Server();
    await server.#run();
    return server;
  }

  /** Kills the process without a warning, as a crash does, and starts another one. */
  async restart(): Promise<void> {
    await this.#kill();
    await this.#run();
  }

  async stop(): Promise<void> {
    await this.#kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #run(): Promise<void> {
    const program = process.env["EVENTSPINE"] ?? "eventspine";
    const file = join(this.#folder, "events.db");
    const child = spawn(program, ["dev", "--db", file, "--address", this.address], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#process = child;
    for await (const line of createInterface(child.stdout)) {
      if (this.address.endsWith(":0")) this.address = line.split(/\s+/)[3] ?? this.address;
      if (line.startsWith("ready")) return;
    }
    throw new Error("the platform ended before it was ready");
  }

  async #kill(): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }
}
