/**
 * stdout and stderr of this process. Whoever reads them may go away, have no room, or not read: that ends no command, and
 * least of all a unit before it has stopped in order.
 */

/** Of a log that nobody reads: bytes that wait, beyond which lines are dropped and counted. */
const mostWaiting = 1 << 20
/** How long the end of a unit waits for what reads its output. */
const lastWordsMs = 1000

let stdoutProblem: NodeJS.ErrnoException | undefined

/** Without a listener an error of a standard stream ends the process. To be called before the first line is written. */
export function guardStreams(): void {
  process.stdout.on('error', (error) => {
    stdoutProblem ??= error
  })
  // There is nobody to tell.
  process.stderr.on('error', () => undefined)
}

/** Why not all of the results could be written, if so. A reader that has seen enough (`| head`) is no such reason. */
export function lostResults(): Error | undefined {
  return isReaderGone(stdoutProblem) ? undefined : stdoutProblem
}

export function isReaderGone(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'EPIPE'
}

/**
 * Writes lines to a stream that must never hold the process up. What cannot be written, or would wait behind too much, is
 * dropped; the next line that can be written is preceded by one that says how many were.
 * @param notice the line that says so
 */
export function lineWriter(stream: NodeJS.WriteStream, notice: (dropped: number) => string): (line: string) => void {
  let dropped = 0
  const write = (line: string, count: number) => {
    stream.write(line, (error) => {
      if (error) dropped += count
    })
  }
  const tellDropped = () => {
    if (dropped === 0 || stream.writableLength > mostWaiting) return
    const count = dropped
    dropped = 0
    write(notice(count), count)
  }
  stream.on('drain', tellDropped)
  return (line) => {
    tellDropped()
    if (stream.writableLength > mostWaiting) dropped++
    else write(line, 1)
  }
}

/** Ends a process that has served: what nobody reads by now is not waited for. */
export async function endServing(): Promise<void> {
  const until = performance.now() + lastWordsMs
  const waiting = () => process.stderr.writableLength + process.stdout.writableLength > 0
  while (waiting() && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20))
  if (waiting()) process.exit()
}
