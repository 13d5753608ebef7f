/**
 * Which checkpoint of each region was read whole last, through any handle of a client. Its checksums hold, and need not be
 * read again to know it: a process that followed a log until it took over knows its end. Only while the unit has not
 * started again: of what was visible and not durable a part may be gone then.
 */

interface Mark {
  readonly unitStart: bigint
  readonly epoch: bigint
  readonly sequence: bigint
  readonly headerCrc: number
}

/** The access to a region, as far as it matters here. */
interface Verifier {
  readonly id: string
  readonly verified?: VerifiedCheckpoints | undefined
  readonly unitStart?: bigint | undefined
}

/** A stored checkpoint, as far as it matters here. */
interface Verifiable {
  readonly epoch: bigint
  readonly sequence: bigint
  readonly last: { readonly headerCrc: number }
}

const regionsRemembered = 256

export class VerifiedCheckpoints {
  /** By the region's instance, the longest unchanged first. */
  readonly #last = new Map<string, Mark>()

  get(region: string): Mark | undefined {
    return this.#last.get(region)
  }

  set(region: string, mark: Mark): void {
    this.#last.delete(region)
    this.#last.set(region, mark)
    if (this.#last.size <= regionsRemembered) return
    const [oldest] = this.#last.keys()
    if (oldest !== undefined) this.#last.delete(oldest)
  }
}

export function isVerified({ id, verified, unitStart }: Verifier, { epoch, sequence, last }: Verifiable): boolean {
  const mark = verified?.get(id)
  return (
    mark !== undefined &&
    mark.unitStart === unitStart &&
    mark.epoch === epoch &&
    mark.sequence === sequence &&
    mark.headerCrc === last.headerCrc
  )
}

/** @param unitStart of the access before the first byte of the checkpoint was read */
export function noteVerified({ id, verified }: Verifier, unitStart: bigint | undefined, found: Verifiable): void {
  if (unitStart === undefined) return
  const { epoch, sequence, last } = found
  verified?.set(id, { unitStart, epoch, sequence, headerCrc: last.headerCrc })
}
