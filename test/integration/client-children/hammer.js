// Does n writes, n reads and n durable flushes on an open region, and then connects once more with a token issued before.
// Talks to its parent by messages: 'ready' before the first, 'done' after the last.
import { randomBytes } from 'node:crypto'

const [index, channelModule, loaderModule, address, count] = process.argv.slice(2)
const { connect } = await import(index)
const { ControlChannel } = await import(channelModule)
const { loadNative } = await import(loaderModule)

const client = await connect(address)
const region = await client.createRegion('hammered', { bytes: 1024 * 1024, mode: 'raw' })
await region.write(0, new Uint8Array(4096))

// Another open over the control plane, whose data connection is made later, while the unit's event loop stands.
const control = await ControlChannel.open(address, 'blocked-loop-test')
const { session } = await control.call('OpenSession', {
  clientVersion: '0',
  identity: 'blocked-loop-test',
  clientId: randomBytes(16),
})
const opened = await control.call('OpenRegion', { session, name: 'hammered', mode: 'READ', tokenLifeMs: 120_000 })

process.send('ready')
await new Promise((resolve) => process.once('message', resolve))

const visible = { durability: 'visible' }
const bytes = new Uint8Array(1000)
const into = new Uint8Array(1000)
for (let i = 0; i < Number(count); i++) {
  bytes.fill(i & 255)
  const offset = (i * 977) % (1024 * 1024 - 1000)
  await region.write(offset, bytes, visible)
  await region.readInto({ offset, bytes: into })
  if (Buffer.compare(bytes, into) !== 0) throw new Error(`read ${i} differs`)
  const ack = await region.flush([{ offset, length: 1000 }])
  if (ack.durability !== 'durable' || ack.method === 'none')
    throw new Error(`flush ${i}: ${JSON.stringify(ack.method)}`)
}

const native = loadNative()
const engine = new native.Engine({})
const { transport, host, port } = opened.endpoints[0]
const read = await new Promise((resolve, reject) => {
  const target = new Uint8Array(4)
  const channel = engine.connectData(
    { transport, host, port, token: opened.token, workDeadlineMs: 5000 },
    {
      onOpen: () => channel.post(1, { kind: 1, until: 0, offsets: [0], buffers: [target] }),
      onOutcomes: (outcomes) => (outcomes[1] === 0 ? resolve(target) : reject(new Error(`code ${outcomes[1]}`))),
      onClosed: (code, message) => reject(new Error(`${code} ${message}`)),
    },
  )
})
process.send({ done: true, connected: read.length === 4 })
// The unit's event loop may still stand, and an orderly end would wait for it.
process.disconnect()
setTimeout(() => process.exit(0), 200)
