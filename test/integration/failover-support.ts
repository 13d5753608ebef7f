/** Units, owners and watchers for the tests of failover. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Client, Lease, RegionEvent, RegionEventType } from '../../src/index.js'
import { builtIndex, nextMessage, startChild } from './client-support.js'

export { builtIndex, MiB, withFolder } from './client-support.js'

const started: ChildProcess[] = []

/** For afterEach: nothing of a test outlives it. */
export async function killChildren(): Promise<void> {
  for (const child of started.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
  }
}

export function child(script: string, ...args: string[]): ChildProcess {
  const process = startChild(`../failover-children/${script}`, ...args)
  started.push(process)
  const list: Record<string, unknown>[] = []
  messages.set(process, list)
  process.on('message', (message: Record<string, unknown>) => list.push(message))
  return process
}

export async function unitProcess(pool: string, listen = '127.0.0.1:0') {
  const process = startChild('unit.js', builtIndex, listen, pool)
  started.push(process)
  const { address } = await nextMessage<{ address: string }>(process)
  return { process, address }
}

/** A process that owns the region of that name. */
export async function ownerProcess(address: string, name: string, lease: Lease = {}, bytes = 1024 * 1024) {
  const process = child('owner.js', builtIndex, address, name, JSON.stringify(lease), String(bytes))
  const { epoch } = await answerWith<{ epoch: string }>(process, 'epoch', 0)
  return { process, epoch: BigInt(epoch) }
}

/** Asks the child for something, and waits for the answer that has that field; rejects when it says that it failed. */
export async function ask<T>(process: ChildProcess, request: object, field: string): Promise<T> {
  const from = heard(process).length
  process.send(request)
  const answer = await answerWith<Record<string, unknown>>(process, field, from, 'failed')
  if (field in answer) return answer as T
  throw new Error(`the child answered ${JSON.stringify(answer)}`)
}

/** The first message with that field, or the other one, from that number on. */
export async function answerWith<T>(
  process: ChildProcess,
  field: string,
  from = heard(process).length,
  or = field,
): Promise<T> {
  for (;;) {
    const found = heard(process)
      .slice(from)
      .find((message) => field in message || or in message)
    if (found !== undefined) return found as T
    if (process.exitCode !== null || process.signalCode !== null) throw new Error(`the child ended before its ${field}`)
    await sleep(2)
  }
}

const messages = new WeakMap<ChildProcess, Record<string, unknown>[]>()

/** Every message of the child so far; several may come at once, which `once` would miss. */
export function heard(process: ChildProcess): readonly Record<string, unknown>[] {
  return messages.get(process) ?? []
}

/** Collects the events of a region until the test ends it. */
export class Watched {
  readonly events: RegionEvent[] = []
  readonly #stop = new AbortController()
  readonly #running: Promise<void>
  #wake: () => void = () => undefined

  constructor(client: Client, name: string, sinceRevision?: bigint) {
    this.#running = (async () => {
      const options = { signal: this.#stop.signal, ...(sinceRevision === undefined ? {} : { sinceRevision }) }
      for await (const event of client.watch(name, options)) {
        this.events.push(event)
        this.#wake()
      }
    })()
    this.#running.catch(() => undefined)
  }

  get types(): RegionEventType[] {
    return this.events.map(({ type }) => type)
  }

  /** The first event of the type, and number `from` or later. */
  async next(type: RegionEventType, from = 0, timeoutMs = 30_000): Promise<RegionEvent> {
    const end = performance.now() + timeoutMs
    for (;;) {
      const found = this.events.slice(from).find((event) => event.type === type)
      if (found !== undefined) return found
      const left = end - performance.now()
      if (left <= 0) throw new Error(`no ${type} within ${timeoutMs} ms; there were ${this.types.join(', ')}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(left, 1000))
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#running
  }
}

export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
