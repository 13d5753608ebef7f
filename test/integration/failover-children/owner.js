// Owns a region: node owner.js INDEX ADDRESS NAME LEASE(JSON) [BYTES]. Talks to its parent by messages:
//   it sends { epoch } once it owns the region, and { fenced: epoch } when it has been fenced
//   { block: ms } keeps its event loop from turning for so long
//   { append: text } answers { appended: sequence } or { failed: code, epoch }
//   { write: byte } starts a write of the whole region and answers { wrote } or { failed }
//   { close: true } closes the client
import { once } from 'node:events'

const [index, address, name, lease, bytes = '1048576'] = process.argv.slice(2)
const { connect, json } = await import(index)

const client = await connect(address, { identity: name })
const region = await client.openRegion(name, {
  mode: 'write',
  lease: JSON.parse(lease),
  create: { bytes: Number(bytes) },
})
const log = region.log({ codec: json })
const failed = (error) => process.send({ failed: error.code, epoch: String(error.details?.epoch ?? '') })

region.fenced.addEventListener('abort', () => {
  const { code, details } = region.fenced.reason
  process.send({ fenced: String(details?.epoch ?? ''), code })
})
process.on('message', ({ block, append, visible, write, clear, close }) => {
  if (block !== undefined) {
    const end = performance.now() + block
    while (performance.now() < end);
    process.send({ blocked: block })
  }
  if (append !== undefined) {
    log
      .append(append, visible ? { durability: 'visible' } : {})
      .then(({ sequence }) => process.send({ appended: String(sequence) }), failed)
  }
  if (write !== undefined) {
    region.write(0, new Uint8Array(Number(region.size)).fill(write)).then(() => process.send({ wrote: write }), failed)
  }
  if (clear) log.clear().then(() => process.send({ cleared: true }), failed)
  if (close) client.close().then(() => process.send({ closed: true }))
})
process.send({ epoch: String(region.epoch) })
await once(process, 'disconnect')
process.exit(0)
