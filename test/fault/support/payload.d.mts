interface Found {
  sequence: bigint
  value: Uint8Array
}
interface Author {
  round: number
  number: number
}
export function payloadOf(seed: number, round: number, number: number, maxBytes: number): Buffer
export function authorOf(checkpoint: Found, seed: number, maxBytes: number): Author
export function checkOrder(
  all: readonly Found[],
  seed: number,
  maxBytes: number,
  dense: boolean,
): ({ sequence: bigint } & Author)[]
