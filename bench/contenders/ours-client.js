// The client's side of this package in the benchmark.
import { connect } from 'rdma-checkpoint'
import { makePayload, placesOf } from '../payloads.js'

const MiB = 1024 * 1024

/**
 * @param {{ transport: 'iwarp' | 'verbs', visible: string, durable: string }} setUp
 * @param {number} span
 * @returns {Promise<import('./index.js').Driver>}
 */
export async function open({ transport, ...addresses }, span) {
  const works = {
    visible: await makeRegions(addresses.visible, transport, 'visible', span),
    durable: await makeRegions(addresses.durable, transport, 'durable', span),
  }
  const reader = await connect(addresses.visible, { transport })
  const checkpoints = (await reader.openRegion('read')).checkpoints()
  let readable = 0
  return {
    async operation({ work, bytes, series }) {
      const [verb] = series.split(',')
      const payload = makePayload(bytes)
      const places = placesOf(bytes, span)
      const { raw, logs } = works[work === 'read' ? 'visible' : work]
      if (verb === 'latest') {
        if (readable !== bytes) await works.visible.logs.read.append(payload)
        readable = bytes
        return () => checkpoints.latest()
      }
      if (verb === 'read') return (number) => raw.read((number % places) * bytes, bytes)
      const durability = /** @type {'visible' | 'durable'} */ (work)
      if (verb === 'write') return (number) => raw.write((number % places) * bytes, payload, { durability })
      const log = verb === 'overwrite' ? logs.overwrite : logs.append
      return () => log.append(payload, { durability })
    },
    async close() {
      await Promise.all([reader.close(), works.visible.client.close(), works.durable.client.close()])
    },
  }
}

/** @param {string} address @param {'iwarp' | 'verbs'} transport @param {'visible' | 'durable'} durability @param {number} span */
async function makeRegions(address, transport, durability, span) {
  const client = await connect(address, { transport })
  const raw = await client.createRegion('raw', { bytes: span, mode: 'raw' })
  const append = await client.createRegion('append', { bytes: span, mode: 'append' })
  const slots = { bytes: span, mode: /** @type {const} */ ('overwrite') }
  const logs = {
    append: append.log(),
    overwrite: (await client.createRegion('overwrite', slots)).log(),
    read: (await client.createRegion('read', slots)).log(),
  }
  // First touches of fresh memory are not what is measured.
  const zeros = new Uint8Array(MiB)
  for (let offset = 0; offset < span; offset += MiB) {
    await raw.write(offset, zeros, { durability })
    await logs.append.append(zeros.subarray(0, MiB - 4096), { durability })
  }
  for (const log of [logs.overwrite, logs.overwrite, logs.read, logs.read]) {
    await log.append(new Uint8Array(span / 4), { durability })
  }
  return { client, raw, logs }
}
