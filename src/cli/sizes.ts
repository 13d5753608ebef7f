/** Sizes as people write them. */

const units: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 2 ** 10,
  kib: 2 ** 10,
  kb: 1e3,
  m: 2 ** 20,
  mib: 2 ** 20,
  mb: 1e6,
  g: 2 ** 30,
  gib: 2 ** 30,
  gb: 1e9,
  t: 2 ** 40,
  tib: 2 ** 40,
  tb: 1e12,
}

/** "4096", "64MiB", "1.5G" (binary), "1GB" (decimal): bytes, or undefined if it is not a size in whole bytes. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim())
  const unit = units[match?.[2]?.toLowerCase() ?? '?']
  if (match === null || unit === undefined) return undefined
  const bytes = Number(match[1]) * unit
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** Three digits and a binary unit. */
export function formatSize(bytes: number | bigint): string {
  let value = Number(bytes)
  for (const unit of ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']) {
    if (value < 1024 || unit === 'PiB') return `${Number(value.toPrecision(value < 1000 ? 3 : 4))} ${unit}`
    value /= 1024
  }
  return `${bytes} B`
}
