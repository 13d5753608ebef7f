// on-device.mjs -- units of the tests on an RDMA device: with RDMA_CHECKPOINT_TEST_ADDRESS every unit whose data plane
// would be on loopback has it there, with verbs only. Preloaded (node --import) into the processes that tests start.
import { existsSync } from 'node:fs'

const address = process.env.RDMA_CHECKPOINT_TEST_ADDRESS
const built = new URL('../../dist/index.js', import.meta.url)

/** @param {{ start(options: object): Promise<unknown> }} Unit */
export function onDevice(Unit) {
  const start = Unit.start
  Unit.start = (options) => {
    const data = options.data?.length ? options.data : ['127.0.0.1:0']
    if (!data.every((name) => name.startsWith('127.0.0.1:'))) return start.call(Unit, options)
    return start.call(Unit, {
      ...options,
      data: data.map((name) => name.replace('127.0.0.1', address)),
      transport: 'verbs',
      security: { mode: 'dangerously-unauthenticated' },
      log: options.log ?? (() => undefined),
    })
  }
}

if (address !== undefined && existsSync(built)) onDevice((await import(built.href)).PersistentMemoryUnit)
