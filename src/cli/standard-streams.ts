/**
 * stdout and stderr of this process. Their reader may go away, run out of space, or stop reading. That ends no command, and
 * never a unit before it has stopped gracefully.
 */
import { bytesWaiting, failureOf, type Output } from './output.js'

/** Most bytes that wait in a log that nobody reads. Beyond that, lines are dropped and counted. */
const mostWaiting = 1 << 20
/** How long a unit that ends waits for the readers of its output. */
const lastWordsMs = 1000

let stdoutProblem: NodeJS.ErrnoException | undefined

/** Without a listener, an error of a standard stream ends the process. Call this before the first line is written. */
export function guardStreams(): void {
  process.stdout.on('error', (error) => {
    stdoutProblem ??= error
  })
  // There is nowhere left to report it.
  process.stderr.on('error', () => undefined)
}

/** The error that kept some results from being written. A reader that has seen enough (`| head`) does not count. */
export function lostResults(): Error | undefined {
  const problem = stdoutProblem ?? failureOf(process.stdout)
  return isReaderGone(problem) ? undefined : problem
}

export function isReaderGone(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'EPIPE'
}

/**
 * Writes lines to an output that nobody may read. A line that cannot be written, or would wait behind too
 * much, is dropped. Before the next line that can be written comes one that says how many were dropped.
 * @param notice the line that says so
 */
export function lineWriter(output: Output, notice: (dropped: number) => string): (line: string) => void {
  let dropped = 0
  const write = (line: string, count: number) => {
    output.write(line, (error) => {
      if (error) dropped += count
    })
  }
  const tellDropped = () => {
    if (dropped === 0 || output.waiting > mostWaiting) return
    const count = dropped
    dropped = 0
    write(notice(count), count)
  }
  output.onDrain(tellDropped)
  return (line) => {
    tellDropped()
    if (output.waiting > mostWaiting) dropped++
    else write(line, 1)
  }
}

/** Ends a process that has served, without waiting for output that nobody reads. */
export async function endServing(): Promise<void> {
  const until = performance.now() + lastWordsMs
  const waiting = () => bytesWaiting() + process.stderr.writableLength + process.stdout.writableLength > 0
  while (waiting() && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20))
  if (waiting()) process.exit()
}
