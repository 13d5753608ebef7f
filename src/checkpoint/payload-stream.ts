/** The bytes of one checkpoint as a stream. Each part is verified before it is handed out. */
import { newBytes } from '../call/new-bytes.js'
import type { CallOptions } from '../types.js'
import { Deadline } from './deadline.js'
import type { Finder } from './finder.js'
import type { Item } from './log-view.js'
import { requireAssemblable } from './record/stored.js'

const chunkBytes = 1024 * 1024

/** Errors come through the stream; one that ends without an error was whole. The timeout holds for each read. */
export function payloadStream(finder: Finder, sequence: bigint, options?: CallOptions): ReadableStream<Uint8Array> {
  let item: Item | undefined
  let next = 0
  let rest: Uint8Array | undefined
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const deadline = new Deadline(options)
        item ??= await finder.find(sequence, deadline)
        while (rest === undefined || rest.length === 0) {
          const part = item.stored.parts[next++]
          if (part === undefined) {
            controller.close()
            return
          }
          item.window.renew(deadline)
          if (item.stored.parts.length === 1) {
            requireAssemblable(item.stored)
            const whole = await finder.restorer().bytes(item.stored, item.window, deadline)
            if (!(whole instanceof Uint8Array)) throw await finder.missing(item.stored, whole, deadline)
            rest = whole
            continue
          }
          const bytes = newBytes(part.payloadBytes)
          if (!(await item.window.payloadInto(part, bytes))) {
            throw await finder.missing(item.stored, { why: 'torn' }, deadline)
          }
          rest = bytes
        }
        controller.enqueue(rest.subarray(0, chunkBytes))
        rest = rest.subarray(chunkBytes)
      },
    },
    { highWaterMark: 0 },
  )
}
