// The payloads of the benchmark, how many of each are in flight, and where they go: the same for everything compared.

const KiB = 1024
const MiB = 1024 * KiB

/** What the places of all payloads of a size take, if nobody says otherwise: more than a processor's cache. */
export const usualSpan = 64 * MiB

/** Bytes, and how many calls are in flight. */
export const payloads = [
  { bytes: 64, depths: [1, 16, 256] },
  { bytes: 4 * KiB, depths: [1, 16] },
  { bytes: 64 * KiB, depths: [1, 16] },
  { bytes: MiB, depths: [1, 4] },
  { bytes: 16 * MiB, depths: [1, 2] },
]

/** How many places a payload goes to in turn, or keys where there are keys. @param {number} bytes @param {number} span */
export function placesOf(bytes, span) {
  return Math.min(1024, Math.max(1, Math.floor(span / bytes)))
}

/** Not zeros, and the same each time. @param {number} bytes */
export function makePayload(bytes) {
  const payload = Buffer.allocUnsafeSlow(bytes)
  for (let index = 0; index < bytes; index++) payload[index] = (index * 31) ^ (index >> 8)
  return payload
}

/** @param {number} bytes */
export function readableBytes(bytes) {
  if (bytes >= MiB) return `${bytes / MiB} MiB`
  return bytes >= KiB ? `${bytes / KiB} KiB` : `${bytes} B`
}
