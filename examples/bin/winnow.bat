@echo off
rem Runs winnow from lib of the unpacked zip; in a checkout, from what "mvnw package" has built.
rem The same settings as in the script "winnow", which says why.
setlocal
for %%i in ("%~dp0..") do set "home=%%~fi"

set "java=java"
if defined JAVA_HOME set "java=%JAVA_HOME%\bin\java"
"%java%" -version >nul 2>&1
if errorlevel 1 goto nojava

set "classes=%home%\lib\*"
if not exist "%home%\pom.xml" goto built
set "classes=%home%\target\classes;%home%\target\lib\*"
if not exist "%home%\target\lib" goto notbuilt
:built

if not defined OMP_WAIT_POLICY set "OMP_WAIT_POLICY=PASSIVE"
if not defined DJL_OFFLINE set "DJL_OFFLINE=true"

set "collector=-XX:+UseSerialGC"
if defined WINNOW_JAVA_OPTS if not "%WINNOW_JAVA_OPTS:GC=%"=="%WINNOW_JAVA_OPTS%" set "collector="

"%java%" %collector% %WINNOW_JAVA_OPTS% ^
  -Dfile.encoding=UTF-8 ^
  "-Dwinnow.home=%home%" ^
  -Dwinnow.terminal=false ^
  -Dorg.slf4j.simpleLogger.defaultLogLevel=error ^
  -Dorg.slf4j.simpleLogger.log.io.winnow=warn ^
  -cp "%classes%" ^
  io.winnow.examples.cli.Winnow %*
exit /b %errorlevel%

:nojava
echo winnow: There is no "%java%"; install Java 17 or later, or set JAVA_HOME to it 1>&2
exit /b 2

:notbuilt
echo winnow: Nothing is built; run "mvnw -DskipTests package" in "%home%\.." 1>&2
exit /b 2
