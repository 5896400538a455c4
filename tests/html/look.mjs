// Looks at pages as a reader does: headless Chromium, light and dark, at 360 and 1280 px. For each page: nothing is asked of
// any server, nothing runs, nothing is wider than the window, and axe-core finds nothing.
//
//     NODE_PATH=…/node_modules node look.mjs CHROMIUM PICTURES PAGE...      `-` in place of PICTURES takes none

import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

// Modules of NODE_PATH, which `import` does not look into.
const require = createRequire(import.meta.url)
const puppeteer = require('puppeteer-core')
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

const [chromium, pictures, ...pages] = process.argv.slice(2)
const faults = []
let looks = 0

const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking'],
})

async function look(file, scheme, width) {
  const page = await browser.newPage()
  const url = pathToFileURL(resolve(file)).href
  const fault = what => faults.push(`${basename(file)}, ${scheme}, ${width} px: ${what}`)
  page.on('request', request => { if (request.url() !== url) fault(`asks for ${request.url()}`) })
  page.on('dialog', async dialog => { fault(`says ${dialog.message()}`); await dialog.dismiss() })
  page.on('console', message => fault(`console: ${message.text()}`))
  page.on('pageerror', error => fault(`error: ${error.message}`))
  await page.setViewport({ width, height: 800 })
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }])
  await page.goto(url, { waitUntil: 'networkidle0' })
  const found = await page.evaluate(() => ({
    wide: document.documentElement.scrollWidth,
    scripts: [...document.scripts].map(script => script.type),
    strange: document.querySelectorAll('a,img,iframe,object,embed,form,link,base,video,audio,input,button').length,
    title: document.title,
    background: getComputedStyle(document.body).backgroundColor,
    report: JSON.parse(document.getElementById('agp-report').textContent).report,
  }))
  if (found.wide > width) fault(`is ${found.wide} px wide`)
  if (found.scripts.join() !== 'application/json') fault(`runs ${found.scripts}`)
  if (found.strange) fault('has an element that could lead away')
  if (!found.title.startsWith(`agp ${found.report}: `)) fault(`is called ${found.title}`)
  const light = found.background.match(/\d+/g).map(Number).reduce((a, b) => a + b) > 3 * 128
  if (light !== (scheme === 'light')) fault(`has the background ${found.background}`)
  if (pictures !== '-') {
    const name = basename(file, '.html')
    await page.screenshot({ path: `${pictures}/${name}-${scheme}-${width}.png`, fullPage: true, captureBeyondViewport: true })
  }
  await page.evaluate(axe)
  const judged = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }))
  for (const violation of judged.violations) {
    const where = violation.nodes.slice(0, 3).map(node => node.target.join(' ')).join('; ')
    fault(`axe: ${violation.id}: ${violation.help} (${violation.nodes.length} ×: ${where})`)
  }
  if (judged.passes.length < 10) fault(`axe looked at ${judged.passes.length} things only`)
  looks += 1
  await page.close()
}

for (const file of pages) {
  for (const scheme of ['light', 'dark']) {
    for (const width of [360, 1280]) await look(file, scheme, width)
  }
}
await browser.close()
for (const fault of faults) console.error(fault)
console.log(`${looks} looks at ${pages.length} pages, ${faults.length} faults`)
process.exit(faults.length ? 1 : 0)
