/**
 * Where lines go: stdout or stderr, whatever they are. Invariant: no write here ever waits for the reader.
 *
 * Node.js makes the standard streams non-blocking where they are pipes or sockets. On a terminal it makes them blocking:
 * there a write waits as long as somebody has pressed Ctrl-S, and everything in the process with it. So a terminal is
 * opened once more, under a descriptor of our own. The one of the shell stays as it is, because others share it.
 */
import { constants, openSync, writeSync } from 'node:fs'

export interface Output {
  /** Takes the text at once. Later tells whether it was lost. */
  write(text: string, done?: (error?: Error | null) => void): void
  /** Bytes that wait for the reader. */
  readonly waiting: number
  /** Why something was lost first. A stream tells that by its event. */
  readonly failure?: Error | undefined
  /** Calls back whenever nothing waits any more. */
  onDrain(drained: () => void): void
}

/** How soon a terminal is tried again that has taken something, and how soon one that has taken nothing. */
const tryAgainMs = { moving: 1, stopped: 50 } as const

const outputs = new Map<NodeJS.WriteStream, Output>()

export function outputOf(stream: NodeJS.WriteStream): Output {
  let output = outputs.get(stream)
  if (output === undefined) {
    const own = stream.isTTY ? openAgain(stream) : undefined
    output = own === undefined ? new StreamOutput(stream) : new TerminalOutput(own)
    outputs.set(stream, output)
  }
  return output
}

/** Why something that was written to it was lost. */
export function failureOf(stream: NodeJS.WriteStream): Error | undefined {
  return outputs.get(stream)?.failure
}

/** Bytes that wait in all outputs. */
export function bytesWaiting(): number {
  let total = 0
  for (const output of outputs.values()) total += output.waiting
  return total
}

/** Undefined for a terminal that this user may not open, as after `su`: there writes go on to wait. */
function openAgain(stream: NodeJS.WriteStream): number | undefined {
  try {
    return openSync(
      `/proc/self/fd/${stream === process.stdout ? 1 : 2}`,
      constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY,
    )
  } catch {
    return undefined
  }
}

class StreamOutput implements Output {
  readonly #stream: NodeJS.WriteStream

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream
  }

  get waiting(): number {
    return this.#stream.writableLength
  }

  write(text: string, done?: (error?: Error | null) => void): void {
    this.#stream.write(text, done)
  }

  onDrain(drained: () => void): void {
    this.#stream.on('drain', drained)
  }
}

interface Waiting {
  bytes: Buffer
  done: ((error?: Error | null) => void) | undefined
}

class TerminalOutput implements Output {
  failure: Error | undefined
  readonly #fd: number
  readonly #queue: Waiting[] = []
  readonly #drained: (() => void)[] = []
  #waiting = 0
  #timer: NodeJS.Timeout | undefined

  constructor(fd: number) {
    this.#fd = fd
  }

  get waiting(): number {
    return this.#waiting
  }

  write(text: string, done?: (error?: Error | null) => void): void {
    const bytes = Buffer.from(text)
    this.#queue.push({ bytes, done })
    this.#waiting += bytes.length
    if (this.#timer === undefined) this.#flush()
  }

  onDrain(drained: () => void): void {
    this.#drained.push(drained)
  }

  #tryAgain(): void {
    this.#flush()
    if (this.#waiting === 0) for (const drained of this.#drained) drained()
  }

  #flush(): void {
    this.#timer = undefined
    let moved = false
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      let error: Error | undefined
      let written = next.bytes.length
      try {
        written = writeSync(this.#fd, next.bytes)
      } catch (caught) {
        const { code } = caught as NodeJS.ErrnoException
        if (code === 'EAGAIN' || code === 'EINTR') {
          this.#timer = setTimeout(() => this.#tryAgain(), moved ? tryAgainMs.moving : tryAgainMs.stopped)
          return
        }
        // The terminal is gone.
        error = caught as Error
        this.failure ??= error
      }
      moved = true
      this.#waiting -= written
      next.bytes = next.bytes.subarray(written)
      if (next.bytes.length > 0) continue
      this.#queue.shift()
      next.done?.(error)
    }
  }
}
