export function payloadOf(seed: number, round: number, sequence: bigint, maxBytes: number): Buffer
export function whatIsWrong(
  checkpoint: { sequence: bigint; value: Uint8Array },
  seed: number,
  maxBytes: number,
): string | undefined
export function roundOf(value: Uint8Array): number
