/** Page-aligned memory of the package's own: what allocate() hands out, and staging that is used again. */
import { markAsUntransferable } from 'node:worker_threads'
import { CheckpointError } from '../errors.js'
import type { NativeModule } from '../native.js'
import { fromNative } from '../native-error.js'
import type { RegisteredBuffer } from '../types.js'

type Allocator = Pick<NativeModule, 'allocate'>

/**
 * From version 21 on Node marks by a detach key, and aborts the process at the end of a thread that has external memory with one:
 * it detaches such memory without the key, and checks that it could (node_buffer.cc, CallbackInfo::CleanupHook).
 */
const marksByKey = (() => {
  const probe = new ArrayBuffer(1) as ArrayBuffer & { transfer?: () => unknown }
  markAsUntransferable(probe)
  try {
    probe.transfer?.()
    return false
  } catch {
    return true
  }
})()

/** @param bytes 1 or more @throws CheckpointError `OUT_OF_MEMORY` */
export function allocateRegistered(native: Allocator, bytes: number): RegisteredBuffer {
  return new Registered(allocate(native, bytes, true))
}

/** @param lasting it will be used again, which registering pays for */
function allocate(native: Allocator, bytes: number, lasting: boolean): Uint8Array<ArrayBuffer> {
  try {
    const memory = native.allocate(bytes, lasting)
    // Transferring it would move memory away that a write may be sent from.
    if (!marksByKey) markAsUntransferable(memory)
    return new Uint8Array(memory, 0, bytes)
  } catch (error) {
    throw fromNative(error, { outcome: 'none' })
  }
}

class Registered implements RegisteredBuffer {
  #bytes: Uint8Array<ArrayBuffer> | undefined

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.#bytes = bytes
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    if (this.#bytes === undefined) throw new CheckpointError('CLOSED', 'The registered buffer has been disposed.')
    return this.#bytes
  }

  [Symbol.dispose](): void {
    this.#bytes = undefined
  }
}

const smallestStaging = 4096
/** Kept for the next caller, in all. */
const maxKept = 64 * 1024 * 1024

/** Staging by powers of two. */
export class StagingMemory {
  #native: Allocator
  #free = new Map<number, Uint8Array<ArrayBuffer>[]>()
  #kept = 0

  constructor(native: Allocator) {
    this.#native = native
  }

  take(bytes: number): { bytes: Uint8Array<ArrayBuffer>; release(): void } {
    const size = Math.max(smallestStaging, 2 ** Math.ceil(Math.log2(Math.max(1, bytes))))
    const reused = this.#free.get(size)?.pop()
    if (reused !== undefined) this.#kept -= size
    const whole = reused ?? allocate(this.#native, size, size <= maxKept)
    let held = true
    return {
      bytes: whole.subarray(0, bytes),
      release: () => {
        if (!held) return
        held = false
        if (this.#kept + size > maxKept) return
        this.#kept += size
        const others = this.#free.get(size)
        if (others === undefined) this.#free.set(size, [whole])
        else others.push(whole)
      },
    }
  }
}
