// Does one thing over and over, several at once, until it is killed: node busy-client.js ADDRESS WHAT BYTES. Says when it has begun.
import { connect } from '../../../dist/index.js'

const [address, what, bytes] = process.argv.slice(2)
const length = Number(bytes)
const payload = Buffer.alloc(length, 7)
const create = { bytes: length, mode: 'raw' }
const client = await connect(address, { identity: `${what} ${process.pid}` })

/** @type {Record<string, () => Promise<() => Promise<unknown>>>} */
const works = {
  async visible() {
    const region = await client.openRegion('visible', { mode: 'write', create })
    return () => region.write(0, payload, { durability: 'visible' })
  },
  async durable() {
    const region = await client.openRegion('durable', { mode: 'write', create })
    return () => region.write(0, payload, { durability: 'durable' })
  },
  async read() {
    const region = await client.createRegion('read', create).then(() => client.openRegion('read'))
    return () => region.read(0, length)
  },
  async watch() {
    return async () => {
      for await (const _ of client.watch('visible'));
    }
  },
  async take() {
    return async () => {
      const region = await client.openRegion('taken', { mode: 'takeOver', create })
      await region.write(0, payload, { durability: 'visible' }).catch(() => undefined)
      await region.close()
    }
  },
}
const work = await works[what]()
for (let lane = 0; lane < 4; lane++) {
  void (async () => {
    for (;;) await work().catch(() => undefined)
  })()
}
process.send('busy')
