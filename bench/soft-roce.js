// npm run bench:soft-roce [-- --rounds N] -- boots a guest with soft-RoCE and measures there (bench/soft-roce/measure.js), beside
// perftest and a C program. On a machine that has a device, run measure.js itself. docs/soft-roce.md says how to read it.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { boot, checkout, missing } from '../test/soft-roce/vm.mjs'

async function main() {
  const absent = missing()
  if (absent !== undefined) throw new Error(absent)
  const folder = path.join(checkout, 'build/soft-roce')
  mkdirSync(folder, { recursive: true })
  const program = path.join(folder, 'write-wait')
  const source = path.join(checkout, 'bench/soft-roce/write-wait.c')
  execFileSync(process.env.CC ?? 'cc', ['-O2', '-o', program, source, '-libverbs', '-lrdmacm'])

  const passedOn = process.argv.slice(2).map((text) => `'${text.replaceAll("'", "'\\''")}'`)
  const guest = boot({
    script: [
      'dummy dummy0 10.77.0.1/24 fd77::1/64 && rxe dummy0 && cd "$GUEST_CHECKOUT" || finish 1',
      `node bench/soft-roce/measure.js --address 10.77.0.1 --device rxe0 --program '${program}' ${passedOn.join(' ')} > /run/results/table 2>&1`,
      'guest_code=$?',
    ].join('\n'),
    results: path.join(folder, 'results-bench'),
    timeoutMs: 900_000,
  })
  const ended = await guest.ended
  const table = path.join(guest.results, 'table')
  if (existsSync(table)) process.stdout.write(readFileSync(table))
  for (const line of ended.complaints) console.log(`the kernel: ${line.trim()}`)
  if (ended.killed) throw new Error('the guest had not ended after 15 minutes')
  return ended.exitCode
}

main().then(
  (code) => process.exit(code),
  (error) => {
    console.error(error)
    process.exit(1)
  },
)
