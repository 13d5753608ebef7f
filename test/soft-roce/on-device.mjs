// on-device.mjs -- units of the tests on an RDMA device: with RDMA_CHECKPOINT_TEST_ADDRESS every unit that names no data
// address of its own listens there, with verbs only. Preloaded (node --import) into the processes that tests start.
import { existsSync } from 'node:fs'

const address = process.env.RDMA_CHECKPOINT_TEST_ADDRESS
const built = new URL('../../dist/index.js', import.meta.url)

/** @param {{ start(options: object): Promise<unknown> }} Unit */
export function onDevice(Unit) {
  const start = Unit.start
  Unit.start = (options) =>
    start.call(
      Unit,
      options.data === undefined || options.data.length === 0
        ? {
            ...options,
            data: [`${address}:0`],
            transport: 'verbs',
            security: { mode: 'dangerously-unauthenticated' },
            log: options.log ?? (() => undefined),
          }
        : options,
    )
}

if (address !== undefined && existsSync(built)) onDevice((await import(built.href)).PersistentMemoryUnit)
