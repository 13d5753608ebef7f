/**
 * Several hosts on one machine: a network namespace for the unit and one for each process that is to be cut off, joined to the
 * unit's by veth pairs. Everything lies in the namespaces but one end of the pair by which this process reaches the unit, and that
 * goes with them.
 */
import { execFileSync } from 'node:child_process'

const prefix = 'rc-storm-'

function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

function names(): string[] {
  return ip('netns', 'list')
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '')
    .filter((name) => name.startsWith(prefix))
}

/** @returns whether there is such a process */
function signal(pid: number, what: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, what)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Takes with it whatever still runs in it. */
function remove(name: string): void {
  const pids = ip('netns', 'pids', name).split('\n')
  for (const pid of pids) if (pid !== '') signal(Number(pid), 'SIGKILL')
  ip('netns', 'del', name)
}

/** Why there can be none, or nothing. */
export function namespacesRefused(): string | undefined {
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  const probe = `${prefix}${process.pid}-probe`
  try {
    ip('netns', 'add', probe)
    ip('-n', probe, 'link', 'add', 'name', 'here', 'type', 'veth', 'peer', 'name', 'there')
    return undefined
  } catch (error) {
    return `no network namespaces: ${(error as Error).message.trim()}`
  } finally {
    try {
      ip('netns', 'del', probe)
    } catch {}
  }
}

export class Namespaces {
  readonly unitAddress: string
  readonly #net: string
  readonly #name: string
  readonly #hosts: Host[] = []

  constructor() {
    // What a run that was killed has left behind.
    for (const name of names()) if (!signal(Number(name.slice(prefix.length).split('-')[0]), 0)) remove(name)
    const { pid } = process
    this.#name = `${prefix}${pid}`
    this.#net = `10.${128 + ((pid >> 8) & 127)}.${pid & 255}`
    this.unitAddress = `${this.#net}.1`
    const [unit, here, there] = [this.#unit, `rcs${pid}`, 'root']
    ip('netns', 'add', unit)
    ip('-n', unit, 'link', 'set', 'lo', 'up')
    ip('-n', unit, 'address', 'add', `${this.unitAddress}/32`, 'dev', 'lo')
    ip('link', 'add', 'name', here, 'type', 'veth', 'peer', 'name', there, 'netns', unit)
    ip('address', 'add', `${this.#net}.2`, 'peer', this.unitAddress, 'dev', here)
    ip('link', 'set', here, 'up')
    ip('-n', unit, 'link', 'set', there, 'up')
    ip('-n', unit, 'route', 'add', `${this.#net}.2/32`, 'dev', there)
  }

  get #unit(): string {
    return `${this.#name}-unit`
  }

  /** What a command is run under to run beside the unit. */
  get underUnit(): string[] {
    return ['ip', 'netns', 'exec', this.#unit]
  }

  /** The host of that number, made when it is first asked for. */
  host(number: number): Host {
    const address = `${this.#net}.${10 + number}`
    this.#hosts[number] ??= new Host(`${this.#name}-${number}`, this.#unit, `v${number}`, this.unitAddress, address)
    return this.#hosts[number]
  }

  remove(): void {
    for (const name of names()) if (name.startsWith(`${this.#name}-`)) remove(name)
  }
}

export class Host {
  constructor(
    readonly name: string,
    readonly unit: string,
    readonly link: string,
    unitAddress: string,
    readonly address: string,
  ) {
    ip('netns', 'add', name)
    ip('-n', unit, 'link', 'add', 'name', link, 'type', 'veth', 'peer', 'name', 'eth', 'netns', name)
    ip('-n', name, 'link', 'set', 'lo', 'up')
    ip('-n', name, 'address', 'add', address, 'peer', unitAddress, 'dev', 'eth')
    ip('-n', name, 'link', 'set', 'eth', 'up')
    this.join()
    // Rules before the one for local addresses, which stands first.
    ip('-n', name, 'rule', 'add', 'pref', '100', 'lookup', 'local')
    ip('-n', name, 'rule', 'del', 'pref', '0')
  }

  /** Its ports of the connections that stand. */
  flows(): number[] {
    const rows = ip('netns', 'exec', this.name, 'cat', '/proc/net/tcp').trim().split('\n').slice(1)
    return rows
      .map((row) => row.trim().split(/\s+/))
      .filter(([, , , state]) => state === '01')
      .map(([, local = '']) => Number.parseInt(local.split(':')[1] ?? '', 16))
  }

  /**
   * From now on nothing of those flows leaves it, or reaches it; neither side is told, and new flows work.
   * @returns what ends that
   */
  drop(ports: readonly number[], direction: 'both' | 'out' | 'in'): () => void {
    const ends = { both: ['sport', 'dport'], out: ['sport'], in: ['dport'] }[direction]
    const rules = ports.flatMap((port) => ends.map((end) => ['pref', '10', 'ipproto', 'tcp', end, String(port)]))
    for (const rule of rules) ip('-n', this.name, 'rule', 'add', ...rule, 'blackhole')
    return () => {
      for (const rule of rules) ip('-n', this.name, 'rule', 'del', ...rule, 'blackhole')
    }
  }

  get under(): string[] {
    return ['ip', 'netns', 'exec', this.name]
  }

  /** From now on nothing of it arrives, and nothing reaches it; neither side is told. */
  cut(): void {
    ip('-n', this.unit, 'link', 'set', this.link, 'down')
  }

  join(): void {
    ip('-n', this.unit, 'link', 'set', this.link, 'up')
    ip('-n', this.unit, 'route', 'replace', `${this.address}/32`, 'dev', this.link)
  }
}
