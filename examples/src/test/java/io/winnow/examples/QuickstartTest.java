package io.winnow.examples;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.io.StringWriter;
import java.net.URI;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The README's quickstart is compiled as it stands there, and run twice. */
class QuickstartTest {
  private static final Pattern JAVA =
      Pattern.compile("```java\\n(.*?)```.*?```\\n(.*?)```", Pattern.DOTALL);

  @TempDir private Path folder;

  @Test
  void theQuickstartOfTheReadmeRunsTwiceAndPrintsWhatTheReadmeShows() throws Exception {
    Path root = Path.of("..").toRealPath();
    Matcher matcher = JAVA.matcher(Files.readString(root.resolve("README.md")));
    assertThat(matcher.find()).isTrue();
    String shown = matcher.group(2);
    Path output = folder.resolve("tiny-mixtral-r6");
    compile(
        matcher
            .group(1)
            .replace("\"examples/", "\"" + root + "/examples/")
            .replace("\"tiny-mixtral-r6\"", "\"" + output + "\""));

    String first = run();
    assertThat(Files.readString(output.resolve("config.json")))
        .containsPattern("\"num_local_experts\": *6\\b");
    assertThat(first).startsWith("layer 0 lost [").endsWith(shown);
    assertThat(run()).isEqualTo(shown);
  }

  private void compile(String source) {
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    JavaFileObject file =
        new SimpleJavaFileObject(
            URI.create("string:///Quickstart.java"), JavaFileObject.Kind.SOURCE) {
          @Override
          public CharSequence getCharContent(boolean ignoreEncodingErrors) {
            return source;
          }
        };
    StringWriter messages = new StringWriter();
    List<String> options =
        List.of("-d", folder.toString(), "-cp", System.getProperty("java.class.path"));
    boolean compiled = compiler.getTask(messages, null, null, options, null, List.of(file)).call();
    assertThat(compiled).as(messages.toString()).isTrue();
  }

  /** Returns what it prints. */
  private String run() throws Exception {
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    PrintStream standard = System.out;
    System.setOut(new PrintStream(printed, true, UTF_8));
    try (URLClassLoader loader = new URLClassLoader(new URL[] {folder.toUri().toURL()})) {
      loader
          .loadClass("Quickstart")
          .getMethod("main", String[].class)
          .invoke(null, (Object) new String[0]);
    } finally {
      System.setOut(standard);
    }
    return printed.toString(UTF_8).replace(System.lineSeparator(), "\n");
  }
}
