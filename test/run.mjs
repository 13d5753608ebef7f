// Runs the native tests and the vitest suite, and ends with one line for both: `N passed, N failed, N skipped`.
//
//   node test/run.mjs [--no-native] [--no-vitest] [arguments for vitest, such as test/unit]
//
// What was skipped is named before that line. RC_LONG=1 asks for full counts, RC_QUICK=1 for less than the usual.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { missing } from './soft-roce/vm.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const own = ['--no-native', '--no-vitest']
const chosen = process.argv.slice(2)
const forVitest = chosen.filter((argument) => !own.includes(argument))

/** Runs a program, streams what it says, and resolves to its exit code and its standard output. */
function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
      process.stdout.write(chunk)
    })
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code: code ?? signal, output }))
  })
}

async function runNative() {
  const { code, output } = await run('make', ['-s', '-C', 'test/native', 'MODE=release', 'run'])
  const last = output.match(/^(\d+) passed, (\d+) failed, (\d+) skipped$/m)
  if (!last) return { passed: 0, failed: 1, skipped: [], remarks: [`the native tests did not build or run (${code})`] }
  // One name for each test, so that they count: a program says how many it leaves out, and why.
  const skipped = [...output.matchAll(/^# skipped (\d+) (.*)$/gm)].flatMap(([, count, what]) =>
    Array.from({ length: Number(count) }, (_, i) => `native, ${i + 1} of ${count} ${what}`),
  )
  return { passed: Number(last[1]), failed: Number(last[2]), skipped, remarks: [] }
}

async function runVitest() {
  const folder = mkdtempSync(path.join(tmpdir(), 'rdma-checkpoint-test-'))
  const report = path.join(folder, 'report.json')
  const cli = path.join(path.dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
  try {
    const args = [cli, 'run', ...forVitest, '--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
    const { code } = await run(process.execPath, args)
    return readReport(report, code)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function readReport(file, code) {
  const totals = { passed: 0, failed: 0, skipped: [], remarks: [] }
  let report
  try {
    report = JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return { ...totals, failed: 1, remarks: [`vitest ended with ${code} and left no report`] }
  }
  for (const suite of report.testResults) {
    const name = path.relative(root, suite.name)
    for (const test of suite.assertionResults) {
      if (test.status === 'passed') totals.passed++
      else if (test.status === 'failed') totals.failed++
      else totals.skipped.push(`${name}: ${test.fullName}`)
    }
    // A file that cannot be loaded, or whose hooks throw, has failed without a failed test of its own.
    if (suite.status === 'failed' && !suite.assertionResults.some((test) => test.status === 'failed')) {
      totals.failed++
      totals.remarks.push(`${name}: failed outside of its tests`)
    }
  }
  if (code !== 0 && totals.failed === 0) {
    totals.failed++
    totals.remarks.push(`vitest ended with ${code} though every test passed (an unhandled error?)`)
  }
  return totals
}

const results = []
if (!chosen.includes('--no-native')) results.push(await runNative())
if (!chosen.includes('--no-vitest')) results.push(await runVitest())

const sum = (of) => results.reduce((total, result) => total + of(result), 0)
const failed = sum((result) => result.failed)
for (const remark of results.flatMap((result) => result.remarks)) console.log(`failed: ${remark}`)
for (const name of results.flatMap((result) => result.skipped)) console.log(`skipped: ${name}`)
if (process.env.RDMA_CHECKPOINT_TEST_ADDRESS === undefined) {
  const absent = missing()
  console.log(
    'left out: what needs an RDMA device; npm run test:soft-roce runs it in a virtual machine' +
      (absent === undefined ? '' : ` (${absent})`),
  )
}
console.log(
  `${sum((result) => result.passed)} passed, ${failed} failed, ${sum((result) => result.skipped.length)} skipped`,
)
process.exitCode = failed === 0 ? 0 : 1
