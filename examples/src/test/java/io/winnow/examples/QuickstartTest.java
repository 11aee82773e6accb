package io.winnow.examples;

import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.core.internal.checkpoint.Checkpoint;
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

/** The README's quickstart is compiled and run as it stands there. */
class QuickstartTest {
  private static final Pattern JAVA = Pattern.compile("```java\\n(.*?)```", Pattern.DOTALL);

  @TempDir private Path folder;

  @Test
  void theQuickstartOfTheReadmeHasAtMost15LinesAndRuns() throws Exception {
    Path root = Path.of("..").toRealPath();
    Matcher matcher = JAVA.matcher(Files.readString(root.resolve("README.md")));
    assertThat(matcher.find()).isTrue();
    String snippet = matcher.group(1);
    assertThat(snippet.lines().count()).isLessThanOrEqualTo(15);
    Path output = folder.resolve("tiny-mixtral-r6");
    String body =
        snippet
            .replace("\"examples/", "\"" + root + "/examples/")
            .replace("\"tiny-mixtral-r6\"", "\"" + output + "\"");
    run(
        """
        import ai.djl.*;
        import io.winnow.core.*;
        import io.winnow.core.calibration.*;
        import io.winnow.core.model.*;
        import io.winnow.core.generate.*;
        import io.winnow.pruning.*;
        import java.nio.file.Path;

        public class Quickstart implements Runnable {
          public void run() {
            %s
          }
        }
        """
            .formatted(body));
    assertThat(Checkpoint.open(output).config().requireInt("num_local_experts")).isEqualTo(6);
  }

  private void run(String source) throws Exception {
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
    try (URLClassLoader loader = new URLClassLoader(new URL[] {folder.toUri().toURL()})) {
      ((Runnable) loader.loadClass("Quickstart").getDeclaredConstructor().newInstance()).run();
    }
  }
}
