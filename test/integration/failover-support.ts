/** Units, owners and watchers for the tests of failover. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Client, Lease, RegionEvent, RegionEventType } from '../../src/index.js'
import { builtIndex, nextMessage, startChild } from './client-support.js'

export { builtIndex, MiB, nextMessage, withFolder } from './client-support.js'

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
  const { epoch } = await nextMessage<{ epoch: string }>(process)
  return { process, epoch: BigInt(epoch) }
}

/** Asks the child for something, and waits for the answer that has that field. */
export async function ask<T>(process: ChildProcess, request: object, field: string): Promise<T> {
  const answer = answerWith<T>(process, field)
  process.send(request)
  return await answer
}

export async function answerWith<T>(process: ChildProcess, field: string): Promise<T> {
  for (;;) {
    const message = await nextMessage<Record<string, unknown>>(process)
    if (field in message) return message as T
    if ('failed' in message) throw new Error(`the child answered ${JSON.stringify(message)}`)
  }
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
