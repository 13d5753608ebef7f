// run.mjs [flush] [STEP...] -- `npm run test:soft-roce`: a guest with kernel RDMA runs the suites (guest/suite.sh names the steps).
// flush: another guest, with Debian 13's kernel and rdma-core, and steps of its own (guest/flush-suite.sh).
// Brings back their output, core dumps and the kernel's log into build/soft-roce/results, and fails if anything failed,
// hung or crashed, or if the kernel complained. The last line is `N passed, N failed, N skipped`.
//
// RC_LONG=1 asks for full counts, GUEST_PRODUCT='FILE...' for other integration tests than the usual ones, RC_TAKEOVERS=N for so many
// takeovers of test/takeover/storm.test.ts.
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { boot, checkout, missing, prepareTrixie } from './vm.mjs'

const flush = process.argv[2] === 'flush'
const results = join(checkout, `build/soft-roce/results${flush ? '-flush' : ''}`)
const hangsAfterMs = (process.argv.includes('product-all') ? 60 : 25) * 60 * 1000

function countOf(text) {
  const totals = /^(\d+) passed, (\d+) failed, (\d+) skipped$/m.exec(text)
  if (totals !== null) return { passed: Number(totals[1]), failed: Number(totals[2]), skipped: Number(totals[3]) }
  return {
    passed: (text.match(/^ok /gm) ?? []).length,
    failed: (text.match(/^not ok /gm) ?? []).length,
    skipped: [...text.matchAll(/^# skipped (\d+) /gm)].reduce((sum, [, count]) => sum + Number(count), 0),
  }
}

async function main() {
  const absent = missing()
  if (absent !== undefined) {
    console.log(`test:soft-roce: ${absent}`)
    console.log('0 passed, 1 failed, 0 skipped')
    return 1
  }
  const chosen = process.argv.slice(flush ? 3 : 2)
  const passedOn = ['RC_LONG', 'RC_FENCE_TRIES', 'GUEST_PRODUCT', 'RC_SEED', 'RC_TAKEOVERS']
    .filter((name) => process.env[name] !== undefined)
    .map((name) => `export ${name}='${process.env[name]}'\n`)
    .join('')
  const script = `${passedOn}export GUEST_STEPS='${chosen.join(' ')}'\nsource "$GUEST_CHECKOUT/test/soft-roce/guest/${flush ? 'flush-suite' : 'suite'}.sh"`
  const nvdimm = join(checkout, `build/soft-roce/nvdimm${flush ? '-flush' : ''}`)
  rmSync(nvdimm, { force: true })
  const system = flush ? prepareTrixie() : undefined
  const guest = boot({ script, results, timeoutMs: hangsAfterMs, nvdimm, ...(system && { system }) })
  const ended = await guest.ended

  const total = { passed: 0, failed: 0, skipped: 0 }
  const problems = []
  const files = readdirSync(results)
  const steps = files.includes('steps') ? readFileSync(join(results, 'steps'), 'utf8').trim().split('\n') : []
  for (const line of steps) {
    const [name, status, seconds] = line.split(' ')
    const output = readFileSync(join(results, `${name}.log`), 'utf8')
    const count = countOf(output)
    if (status !== '0') {
      console.log(output)
      problems.push(`${name}: ${status === '124' ? 'hung, and was stopped' : `ended with status ${status}`}`)
      if (count.failed === 0) count.failed++
    } else if (count.passed === 0 && name === 'devices') {
      console.log(output.trimEnd())
      count.passed++
    } else if (count.passed === 0) {
      problems.push(`${name}: ran no test`)
      count.failed++
    }
    for (const key of Object.keys(total)) total[key] += count[key]
    console.log(`${name}: ${count.passed} passed, ${count.failed} failed in ${seconds} s`)
    for (const remark of output.match(/^# (skipped .*|.*(tries|per second|MB\/s).*)$/gm) ?? [])
      console.log(`  ${remark.slice(2)}`)
  }
  if (steps.length === 0) problems.push('no step ran')
  if (ended.killed) problems.push(`the guest had not ended after ${hangsAfterMs / 60_000} minutes`)
  else if (ended.exitCode !== 0 && problems.length === 0) problems.push(`the guest ended with ${ended.exitCode}`)
  const mark = files.includes('mark') ? readFileSync(join(results, 'mark')) : undefined
  if (mark !== undefined && !readFileSync(nvdimm).includes(mark)) problems.push(`the NVDIMM has not: ${mark}`)
  for (const core of files.filter((name) => name.startsWith('core.')))
    problems.push(`a core dump: ${join(results, core)}`)
  for (const line of ended.complaints) problems.push(`the kernel: ${line.trim()}`)
  for (const problem of problems) console.log(`failed: ${problem}`)
  if (problems.length > 0 && total.failed === 0) total.failed = problems.length
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
  return total.failed === 0 ? 0 : 1
}

process.exitCode = await main()
