package io.winnow.examples.cli;

import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.Model;
import com.google.gson.JsonObject;
import io.winnow.core.Fixtures;
import io.winnow.core.MoeModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.model.MoeModels;
import io.winnow.examples.report.result.PruningResult;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.PruningReport;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@code winnow report}. */
class ReportCommandTest {
  private static final Pattern IMAGE =
      Pattern.compile(
          "<img class=\"(light|dark)\" width=\"360\" alt=\"([^\"]+)\""
              + " src=\"data:image/png;base64,([^\"]+)\">");

  /** The name of a file that would be a tag if nobody escaped it. */
  private static final String HOSTILE = "<b>code&";

  @TempDir private static Path folder;

  private static Path pruning;
  private static Path evolution;
  private static Path comparison;
  private static Path out;
  private static Cli.Result result;
  private static String html;

  @BeforeAll
  static void report() throws Exception {
    Path code =
        Cli.writeIds(
            folder.resolve(HOSTILE + ".safetensors"),
            Fixtures.naeeTokens("calib.code").slice(0, 2));
    Path prose =
        Cli.writeIds(
            folder.resolve("prose.safetensors"), Fixtures.naeeTokens("calib.prose").slice(0, 2));
    pruning = folder.resolve("r6.json");
    Cli.succeed(
        "prune --model MODEL --calib {} --length 32 --retain 6 --out {} --report {}",
        code,
        folder.resolve("r6"),
        pruning);
    evolution = folder.resolve("evolve.json");
    Cli.succeed(
        "evolve --model MODEL --task {} --length 16 --windows 2 --retain 4"
            + " --evaluations 3 --merge-evaluations 12 --out {} --report {}",
        prose,
        folder.resolve("evolved"),
        evolution);
    comparison =
        Files.writeString(
            folder.resolve("compare.json"),
            "{\"version\": 1, \"columns\": [\"method\", \"perplexity\"], \"rows\": [{\"method\":"
                + " \"<script>alert(1)</script>\", \"perplexity\": {\"code\": 14.0731}}]}");
    out = folder.resolve("report");
    result =
        Cli.succeed(
            "report --model MODEL --calib {} --calib {} --length 32 --retain 6"
                + " --pruning {} --evolution {} --comparison {} --out {}",
            code,
            prose,
            pruning,
            evolution,
            comparison,
            out);
    html = Files.readString(out.resolve("report.html"));
  }

  @Test
  void thePageHasASectionForEverythingThatWasGivenOrMeasured() {
    assertThat(html)
        .contains(
            "<section id=\"comparison\">",
            "<section id=\"kept\">",
            "<section id=\"loss\">",
            "<section id=\"subsets\">",
            "<section id=\"pairs\">",
            "<section id=\"skipping\">",
            "<section id=\"evolution\">",
            "<section id=\"matrices\">");
    assertThat(result.out())
        .contains("Which experts are kept", "Written to " + out.resolve("report.html"))
        .doesNotContain("%");
  }

  @Test
  void sectionsAppearOnlyForWhatWasGiven() throws Exception {
    Path only = folder.resolve("only-comparison");
    Cli.succeed("report --comparison {} --out {}", comparison, only);
    assertThat(Files.readString(only.resolve("report.html")))
        .containsOnlyOnce("<section")
        .contains("<section id=\"comparison\">", "<td class=\"number\">14.07</td>")
        .doesNotContain("<img", "<figure");
    assertThat(Cli.below(only)).containsExactly("", "report.html");

    Path pruned = folder.resolve("only-pruning");
    Cli.succeed("report --pruning {} --layers 1,3 --out {}", pruning, pruned);
    assertThat(Cli.below(pruned))
        .containsExactly(
            "",
            "kept-r6-r6-dark.png",
            "kept-r6-r6.png",
            "report.html",
            "subsets-r6-layer-1-dark.png",
            "subsets-r6-layer-1.png",
            "subsets-r6-layer-3-dark.png",
            "subsets-r6-layer-3.png");
  }

  @Test
  void thePageNeedsNothingBesidesItself() {
    String withoutPictures = IMAGE.matcher(html).replaceAll("");
    assertThat(withoutPictures)
        .doesNotContain("http:", "https:", "src=", "<img", "<script", "<link", "url(", "@import");
    assertThat(Pattern.compile("href=\"([^\"]*)\"").matcher(withoutPictures).results())
        .extracting(link -> link.group(1))
        .isNotEmpty()
        .allSatisfy(
            link ->
                assertThat(withoutPictures).contains("<section id=\"" + link.substring(1) + "\">"));
    assertThat(html).contains("default-src 'none'");
    assertThat(html.getBytes(StandardCharsets.UTF_8)).hasSizeLessThan(5 << 20);
  }

  @Test
  void whatComesFromFilesIsEscaped() {
    assertThat(html)
        .contains("&lt;script&gt;alert(1)&lt;/script&gt;", "&lt;b&gt;code&amp;")
        .doesNotContain("<script", "<b>");
  }

  @Test
  void everyPictureIsInThePageInBothThemesAndBesideItAsAFile() throws Exception {
    List<MatchResult> images = IMAGE.matcher(html).results().toList();
    assertThat(images).hasSize(html.split("<img ", -1).length - 1).isNotEmpty();
    List<byte[]> files = new ArrayList<>();
    for (String name : Cli.below(out)) {
      if (name.endsWith(".png")) {
        files.add(Files.readAllBytes(out.resolve(name)));
        assertThat(ImageIO.read(out.resolve(name).toFile()).getWidth()).isEqualTo(720);
      }
    }
    assertThat(files).hasSameSizeAs(images);
    for (int i = 0; i < images.size(); i++) {
      assertThat(images.get(i).group(1)).isEqualTo(i % 2 == 0 ? "light" : "dark");
      assertThat(images.get(i).group(2)).isEqualTo(images.get(i - i % 2).group(2));
      byte[] png = Base64.getDecoder().decode(images.get(i).group(3));
      assertThat(files).anyMatch(file -> Arrays.equals(file, png));
    }
  }

  @Test
  void theSameReportsGiveTheSameBytes() throws Exception {
    Path one = folder.resolve("one");
    Path other = folder.resolve("other");
    for (Path target : List.of(one, other)) {
      Cli.succeed("report --pruning {} --evolution {} --out {}", pruning, evolution, target);
    }
    assertThat(Cli.below(one)).isEqualTo(Cli.below(other)).contains("evolution-evolve.png");
    for (String name : Cli.below(one)) {
      if (!name.isEmpty()) {
        assertThat(one.resolve(name)).hasSameBinaryContentAs(other.resolve(name));
      }
    }
  }

  @Test
  void everyNumberOfExpertsIsSearchedAsPruningSearchesIt() {
    Calibration text = Calibration.ofTokens(new long[][] {tokens(0), tokens(1)});
    try (Model model = MoeModels.loader(Fixtures.TINY_MIXTRAL).load()) {
      MoeModel moe = MoeModel.of(model);
      Map<Integer, PruningResult> results = new ReportMeasurement(moe).searches("code", text, 4, 0);
      assertThat(results).containsOnlyKeys(2, 3, 4, 5, 6, 7, 8);
      results.forEach(
          (r, found) -> {
            PruningReport expected = ExpertPruner.builder().build().search(moe, text, r);
            for (int i = 0; i < expected.layers().size(); i++) {
              PruningReport.Layer layer = expected.layers().get(i);
              PruningResult.Layer actual = found.layers().get(i);
              assertThat(actual.kept()).isEqualTo(layer.retained());
              assertThat(actual.dropped()).isEqualTo(layer.dropped());
              assertThat(actual.loss()).isEqualTo(layer.loss());
              assertThat(actual.losses()).hasSize(r == 4 ? 70 : 0);
              assertThat(actual.loss().orElseThrow() / actual.norm().orElseThrow())
                  .isEqualTo(layer.relativeLoss().orElseThrow());
            }
          });
    }
  }

  @ParameterizedTest
  @CsvSource({
    "llama4, selects one expert, ",
    "phimoe, not measured, pairs",
    "deepseek_v3, , skipping",
  })
  void familiesThatCannotBeSkippedOrArePrunedInGroupsAreReportedToo(
      String family, String note, String section) throws Exception {
    long[][] ids = new long[2][24];
    for (int i = 0; i < 48; i++) {
      ids[i / 24][i % 24] = 7 * i % 61;
    }
    Path text = Cli.writeIds(folder.resolve(family + ".safetensors"), TokenSequences.of(ids));
    Path target = folder.resolve("report-" + family);
    Cli.succeed("report --model {} --calib {} --out {}", Fixtures.golden(family), text, target);
    String page = Files.readString(target.resolve("report.html"));
    assertThat(page).contains("<section id=\"kept\">", "<section id=\"loss\">");
    assertThat(page.contains("<dt>Skipping</dt>")).isEqualTo(note != null);
    assertThat(page).contains(note == null ? "" : note);
    assertThat(page).contains(section == null ? "" : "<section id=\"" + section + "\">");
  }

  private static long[] tokens(int sequence) {
    return Arrays.copyOf(Fixtures.naeeTokens("calib.code").sequence(sequence), 32);
  }

  @Test
  void aReportOfPruningIsReadAsItWasWritten() {
    JsonObject json = Cli.json(pruning);
    PruningResult read = PruningResult.read(pruning);
    assertThat(read.name()).isEqualTo("r6");
    assertThat(read.retained()).isEqualTo(6);
    assertThat(read.calibration()).isEqualTo(json.get("calibration").getAsString());
    JsonObject layer = json.getAsJsonArray("layers").get(2).getAsJsonObject();
    assertThat(read.layers().get(2).losses())
        .hasSize(28)
        .isSorted()
        .first()
        .isEqualTo(layer.get("loss").getAsDouble());
    assertThat(read.layers().get(2).kept())
        .isEqualTo(layer.getAsJsonArray("kept").asList().stream().map(e -> e.getAsInt()).toList());
  }

  @ParameterizedTest(name = "report {0}")
  @CsvSource(
      delimiter = '|',
      value = {
        "--out DIR/new | There is nothing to report; give --model",
        "--out DIR/new --model MODEL | There is nothing to report; give --model",
        "--out DIR/new --calib IDS | --model is measured on the texts of --calib; give both",
        "--out DIR/new --model MODEL --pruning PRUNING | --model is measured on the texts",
        "--out DIR/new --model DIR/none --calib IDS | none",
        "--out DIR/new --model MODEL --calib DIR/none.txt | none.txt",
        "--out DIR/new --model MODEL --calib IDS --retain 1 | every token selects 2; retain 2 to 8",
        "--out DIR/new --model MODEL --calib IDS --length 32 --layers 9 | MoE layers are [0, 1, 2, 3]",
        "--out DIR/new --model MODEL --calib IDS --length 0 | length must be at least 1",
        "--out DIR/new --pruning PRUNING --layers 7 | none of the layers [7] (--layers)",
        "--out DIR/new --pruning DIR/none.json | Cannot read a pruning report from",
        "--out DIR/new --pruning EVOLUTION | is not a pruning report: it has no 'retained_per_layer'",
        "--out DIR/new --pruning COMPARISON | is not a pruning report",
        "--out DIR/new --evolution PRUNING | is not a report of an evolutionary search: it has no 'space'",
        "--out DIR/new --comparison PRUNING | is not a comparison: it has no 'rows'; write one with",
        "--out DIR/r6 --pruning PRUNING | r6 exists already",
        "--out DIR/no/new --pruning PRUNING | does not exist; create it",
      })
  void badInputIsRefusedBeforeAnythingIsWritten(String arguments, String message) {
    assertRefused(message, arguments);
  }

  private static void assertRefused(String message, String arguments) {
    String words =
        arguments
            .replace("IDS", folder.resolve("prose.safetensors").toString())
            .replace("PRUNING", pruning.toString())
            .replace("EVOLUTION", evolution.toString())
            .replace("COMPARISON", comparison.toString())
            .replace("DIR", folder.toString());
    List<String> before = Cli.below(folder);
    Cli.assertRefused(Cli.run("report " + words), message);
    assertThat(Cli.below(folder)).isEqualTo(before);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "\"version\": 1 | \"version\": 2 | says version 2; a pruning report of version 1 can be read",
        "\"method\": \"reconstruction\" | \"method\": [] | is not a pruning report",
        "\"layer\": 0, | \"layer\": 0.5, | 'layer' is 0.5, not a whole number",
        "\"dropped\": [ | \"dropped\": [0, | not all experts once",
        "\"loss\": | \"loss\": -1, \"x\": | a loss is negative",
        "\"loss\": | \"loss\": 1e999, \"x\": | a loss is 1e999",
        "\"losses\": { | \"losses\": {\"x\": \"y\", | is not a pruning report",
      })
  void aDamagedReportIsRefused(String from, String to, String message) throws Exception {
    String text = Files.readString(pruning);
    assertThat(text).contains(from);
    Path damaged = Files.writeString(folder.resolve("damaged.json"), text.replace(from, to));
    assertRefused(message, "--pruning " + damaged + " --out DIR/new");
  }
}
