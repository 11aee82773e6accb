package io.winnow.examples;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The pages are short, their links lead somewhere, and their versions are the pom's. */
class ReadmeTest {
  private static final Path ROOT = Path.of("..");
  private static final Pattern LINK = Pattern.compile("\\]\\(([^)\\s]+)\\)|src=\"([^\"]+)\"");
  private static final Pattern CODE =
      Pattern.compile("^```.*?^```", Pattern.DOTALL | Pattern.MULTILINE);

  @Test
  void theReadmeCanBeReadInFiveMinutes() throws Exception {
    assertThat(Files.readAllLines(ROOT.resolve("README.md"))).hasSizeLessThanOrEqualTo(200);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "README.md",
        "core/README.md",
        "pruning/README.md",
        "skipping/README.md",
        "examples/README.md",
        "examples/bench/README.md"
      })
  void linksLeadSomewhereAndCellsAreShort(String name) throws Exception {
    Path page = ROOT.resolve(name);
    String text = Files.readString(page);
    List<String> broken = new ArrayList<>();
    for (MatchResult link : LINK.matcher(withoutCode(text)).results().toList()) {
      String target = link.group(1) == null ? link.group(2) : link.group(1);
      if (!target.contains("://") && !leadsSomewhere(page, target)) {
        broken.add(target);
      }
    }
    assertThat(broken).as("broken links of " + name).isEmpty();
    assertThat(withoutCode(text).lines().filter(line -> line.startsWith("|")))
        .allSatisfy(
            row ->
                assertThat(row.split("\\|"))
                    .allSatisfy(cell -> assertThat(cell.strip()).hasSizeLessThanOrEqualTo(120)));
  }

  @Test
  void theVersionsAreThoseOfThePom() throws Exception {
    String pom = Files.readString(ROOT.resolve("pom.xml"));
    String winnow = first(pom, "<artifactId>winnow</artifactId>\\s*<version>([^<]+)<");
    String djl = first(pom, "<djl.version>([^<]+)<");
    String pytorch = first(pom, "<pytorch.version>([^<]+)<");
    String readme = Files.readString(ROOT.resolve("README.md"));
    assertThat(versions(readme, "winnow-[a-z]+")).containsExactly(winnow, winnow);
    assertThat(versions(readme, "pytorch-jni")).containsExactly(pytorch + "-" + djl);
    assertThat(versions(readme, "pytorch-native-cpu")).containsExactly(pytorch);
    assertThat(first(readme, "\\| DJL \\| ([0-9.]+)")).isEqualTo(djl);
    assertThat(first(readme, "\\| PyTorch \\| ([0-9.]+)")).isEqualTo(pytorch);
    String java = first(pom, "<maven.compiler.release>([^<]+)<");
    assertThat(first(readme, "\\| Java \\| ([0-9]+)")).isEqualTo(java);
  }

  private static boolean leadsSomewhere(Path page, String target) throws IOException {
    int hash = target.indexOf('#');
    String file = hash < 0 ? target : target.substring(0, hash);
    Path path = file.isEmpty() ? page : page.resolveSibling(file);
    return Files.exists(path)
        && (hash < 0 || anchors(Files.readString(path)).contains(target.substring(hash + 1)));
  }

  /** Returns what headings are called in links. */
  private static Set<String> anchors(String text) {
    return withoutCode(text)
        .lines()
        .filter(line -> line.startsWith("#"))
        .map(line -> line.replaceFirst("^#+ *", "").toLowerCase(Locale.ROOT))
        .map(title -> title.replaceAll("[^\\p{L}\\p{N} _-]", "").replace(' ', '-'))
        .collect(Collectors.toSet());
  }

  private static String withoutCode(String text) {
    return CODE.matcher(text).replaceAll("");
  }

  private static Stream<String> versions(String text, String artifact) {
    return Pattern.compile(
            "<artifactId>" + artifact + "</artifactId>[^\\n]*\\s*<version>([^<]+)</version>")
        .matcher(text)
        .results()
        .map(found -> found.group(1));
  }

  private static String first(String text, String pattern) {
    return Pattern.compile(pattern)
        .matcher(text)
        .results()
        .findFirst()
        .orElseThrow(() -> new AssertionError("nothing is like " + pattern))
        .group(1);
  }
}
